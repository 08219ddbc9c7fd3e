/** One machine that is shot at: how its agent is armed, traced, counted, and told to change. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { LightMachine } from "../../testbed/light/light-machine.ts";
import { eventually, type SpawnedProgram } from "../../testbed/program.ts";
import type { Site } from "../../testbed/site.ts";
import type { Fleet, SeenNode } from "../fleet.ts";
import { type Letter, nodeSetOf } from "./profiles.ts";

/** Only against hanging: much longer than anything takes. */
export const PATIENCE_MS = 150_000;
const SERVICE = "drover-agent";

export class Subject {
  readonly machine: LightMachine;
  readonly #site: Site;
  readonly #fleet: Fleet;
  /** What it is in sync with. */
  letter: Letter | undefined;

  constructor(site: Site, fleet: Fleet, machine: LightMachine) {
    this.#site = site;
    this.#fleet = fleet;
    this.machine = machine;
  }

  get name(): string {
    return this.machine.name;
  }

  get stateDirectory(): string {
    return join(this.machine.directory, "var-lib/drover-agent");
  }

  agentStarts(): Promise<number> {
    return this.machine.serviceStarts(SERVICE);
  }

  containerdStarts(): Promise<number> {
    return this.machine.serviceStarts("containerd");
  }

  async logLength(): Promise<number> {
    return (await this.machine.serviceLog(SERVICE)).length;
  }

  async logSince(offset: number): Promise<string> {
    return (await this.machine.serviceLog(SERVICE)).slice(offset);
  }

  node(): SeenNode {
    const node = this.#fleet.node(this.name);
    if (node === undefined) throw new Error(`the coordinator does not know ${this.name}`);
    return node;
  }

  /** The next start of the agent, which this brings about, has that failpoint and finds one sysctl drifted. */
  async restartArmed(setting: string): Promise<void> {
    await this.machine.writeFile("/run/drover-failpoint", setting);
    await this.#restart("echo 777 > /proc/sys/net/core/somaxconn");
  }

  /** Nothing is armed any more. */
  async restartClean(): Promise<void> {
    await this.#restart("rm -f /run/drover-failpoint");
  }

  async #restart(first: string): Promise<void> {
    const starts = await this.agentStarts();
    await this.machine.run("sh", ["-c", `${first}; kill -TERM "$(cat /run/supervisor/drover-agent.pid)"`]);
    await eventually(`${this.name}'s agent starts again`, PATIENCE_MS, async () => (await this.agentStarts()) > starts);
  }

  /** Strace on all threads of the running agent, not on what it executes; returns when it is attached. */
  async trace(logFile: string, words: readonly string[]): Promise<SpawnedProgram> {
    const pid = (await this.machine.readFile("/run/supervisor/drover-agent.pid")).trim();
    const program = await this.machine.spawn("strace", ["-f", "-b", "execve", ...words, "-p", pid], logFile);
    await eventually(`strace is attached on ${this.name}`, PATIENCE_MS, async () => /attached/.test(await readFile(logFile, "utf8")));
    return program;
  }

  /** Lets the coordinator want the other profile here. */
  async order(letter: Letter): Promise<void> {
    await this.#fleet.apply(await this.#site.manifest(`set-${this.name}`, nodeSetOf(this.name, letter)));
  }

  /** Until the coordinator says that a generation above `generation` is in sync; what it says then. */
  async inSyncAbove(generation: number): Promise<SeenNode> {
    return eventually(`the coordinator says that ${this.name} is in sync above generation ${generation}`, PATIENCE_MS, () => {
      const node = this.node();
      return node.isInSync && node.observedGeneration > generation && node;
    });
  }

  async beginLife(letter: Letter): Promise<void> {
    await eventually(`${this.name} is known`, PATIENCE_MS, () => this.#fleet.node(this.name) !== undefined);
    const { desiredGeneration } = this.node();
    await this.order(letter);
    await this.inSyncAbove(desiredGeneration);
    this.letter = letter;
  }
}
