/** One machine with its agent: lives come and go, the disk and the machine stay. */
import { type Clock, type Log, type Random, seededRandom } from "@drover/lifecycle";
import { type Agent, createAgent, MemoryStateDirectory, type Sessions, type StateDirectory } from "@drover/agent";
import type { FakeHost } from "../../agent/src/fake/index.ts";
import { steps } from "../../agent/src/steps/index.ts";
import type { NodeLink } from "./bus-sides.ts";
import { Disk } from "./disk.ts";
import { Life } from "./life.ts";
import { CONTAINERD_CONFIG } from "./machine-truth.ts";
import { factsOf, makeMachine, viewOf } from "./machine.ts";
import type { Observe } from "./observations.ts";
import { slowState } from "./slow-state.ts";

export interface SimulatedNodeParts {
  readonly nodeId: string;
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly link: NodeLink;
  readonly sessionsOf: (nodeId: string, life: Life) => Sessions;
  readonly log: Log;
  readonly driftScanMs: number;
  readonly observe: Observe;
  readonly say: (event: string) => void;
  /** For tests of the checkers: what the agent gets instead of honest durable state. */
  readonly tamper?: (state: StateDirectory) => StateDirectory;
}

export class SimulatedNode {
  readonly nodeId: string;
  readonly name: string;
  readonly machine: FakeHost;
  readonly link: NodeLink;
  readonly state = new MemoryStateDirectory();
  readonly #parts: SimulatedNodeParts;
  readonly #disk: Disk;
  #life: Life | undefined;
  #agent: Agent | undefined;
  #skewMs = 0;
  #boots = 1;
  /** Monotonic. */
  #bootedAtMs = 0;
  /** What somebody has overwritten, see driftAboveLive. */
  #beforeDrift: string | undefined;

  constructor(parts: SimulatedNodeParts) {
    this.#parts = parts;
    this.nodeId = parts.nodeId;
    this.name = parts.name;
    this.link = parts.link;
    this.machine = makeMachine(bootId(parts.nodeId, 1));
    this.machine.kernel.countUptime(() => parts.clock.monotonicMs() - this.#bootedAtMs);
    this.#disk = new Disk(parts.clock, parts.random, 2);
  }

  get agent(): Agent | undefined {
    return this.#agent;
  }

  get isRunning(): boolean {
    return this.#life !== undefined;
  }

  start(): void {
    if (this.#life !== undefined) return;
    const { nodeId, name, clock, random, link, sessionsOf, log, observe, say, tamper } = this.#parts;
    const life = new Life(clock, () => this.#skewMs);
    const own = seededRandom(Math.floor(random.unit() * 2 ** 32));
    const state = slowState({ node: nodeId, state: this.state, disk: this.#disk, life, observe });
    const agent = createAgent({
      nodeId,
      agentVersion: "0.1.0",
      host: viewOf(this.machine, { node: nodeId, life, random: own, observe }),
      steps,
      state: tamper?.(state) ?? state,
      bus: link.portOf(life),
      sessions: sessionsOf(nodeId, life),
      clock: life.clock,
      random: own,
      log,
      facts: async () => factsOf(name, bootId(nodeId, this.#boots)),
      processId: own.bytes(16),
      intervals: { driftScanMs: this.#parts.driftScanMs },
    });
    this.#life = life;
    this.#agent = agent;
    say("agent started");
    observe({ type: "life", node: nodeId, isRunning: true, boot: this.#boots });
    life.awaits(agent.run(new AbortController().signal)).then(
      () => this.#ended(life, "agent ended by itself"),
      (error: unknown) => this.#ended(life, `agent failed: ${(error as Error).message}`),
    );
  }

  /** As by kill -9. */
  kill(): void {
    if (this.#life === undefined) return;
    this.#disk.crash();
    this.#life.kill();
    this.#forgetLife();
    this.#parts.say("agent killed");
    // What was synced stays; records that were trimmed lazily may come back.
    const untrim = this.#parts.random.unit() < 0.5;
    this.#parts.clock.setTimer(1, () => this.state.crash({ untrim }));
  }

  /** The machine boots anew; kernel parameters come from its files. */
  reboot(): void {
    this.kill();
    this.#boots += 1;
    this.#bootedAtMs = this.#parts.clock.monotonicMs();
    this.machine.kernel.reboot(bootId(this.nodeId, this.#boots));
    this.#parts.say("machine rebooted");
  }

  /** The machine's wall clock steps. */
  jump(ms: number): void {
    this.#skewMs += ms;
  }

  /** What a person or another program does to the machine. */
  drift(random: Random): string {
    const { kernel, containerd } = this.machine;
    const pinned = containerd.images.filter(({ name }) => name.startsWith("registry.example/"));
    if (random.unit() < 0.5 && pinned.length > 0) {
      const image = pinned[Math.floor(random.unit() * pinned.length)]!;
      this.#observeDrift(image.name, "");
      containerd.collect(image.digest);
      return `image ${image.name} collected`;
    }
    this.#observeDrift("net.core.somaxconn", "128");
    kernel.set("net.core.somaxconn", "128");
    return "net.core.somaxconn set to 128";
  }

  /** Its runtime no longer answers CRI, until its unit is restarted or somebody cures it. */
  setSick(isSick: boolean): void {
    this.machine.containerd.breakCri(isSick ? "runtime network not ready" : undefined);
  }

  get hasDriftedAboveLive(): boolean {
    return this.#beforeDrift !== undefined;
  }

  /** Somebody edits what only a restart of containerd mends. @returns false when there is nothing of ours to edit yet */
  driftAboveLive(): boolean {
    const text = this.machine.files.text(CONTAINERD_CONFIG);
    if (text === undefined || !/pause:3\.\d+/.test(text)) return false;
    this.machine.files.put(CONTAINERD_CONFIG, text.replace(/pause:3\.\d+/, "pause:3.1"));
    this.#beforeDrift = text;
    this.#observeDrift(CONTAINERD_CONFIG, "");
    return true;
  }

  /** Undoes it, unless the agent has mended it since. */
  putDriftBack(): void {
    const isStillThere = this.machine.files.text(CONTAINERD_CONFIG)?.match(/pause:3\.1(?!\d)/) != null;
    if (this.#beforeDrift !== undefined && isStillThere) this.machine.files.put(CONTAINERD_CONFIG, this.#beforeDrift);
  }

  #observeDrift(target: string, value: string): void {
    this.#parts.observe({ type: "drifted", node: this.nodeId, target, value });
  }

  #ended(life: Life, event: string): void {
    life.kill();
    this.#forgetLife();
    this.#parts.say(event);
    this.#parts.clock.setTimer(5_000, () => this.start());
  }

  #forgetLife(): void {
    this.#parts.observe({ type: "life", node: this.nodeId, isRunning: false, boot: this.#boots });
    this.#life = undefined;
    this.#agent = undefined;
  }
}

function bootId(nodeId: string, boots: number): string {
  return `${nodeId.slice(0, 8).padEnd(8, "0")}-0000-4000-8000-${String(boots).padStart(12, "0")}`;
}
