/** A machine that is given changes which cut it off, in a NodeSet of its own with at most one bystander that comes after it. */
import type { Machine } from "../../testbed/machine.ts";
import { eventually } from "../../testbed/program.ts";
import type { Site } from "../../testbed/site.ts";
import type { Fleet, SeenNode } from "../fleet.ts";
import { type Fault, goodSpec } from "./faults.ts";
import { difference, type Look, look } from "./look.ts";

const apiVersion = "drover.dev/v1alpha1";
const SERVICE = "drover-agent";

export interface SubjectParts {
  readonly site: Site;
  readonly fleet: Fleet;
  readonly machine: Machine;
  readonly bystander: Machine | undefined;
  readonly hasKubelet: boolean;
  /** Of good and bad changes alike, in seconds. */
  readonly confirmDeadlineS: number;
  /** Only against hanging. */
  readonly patienceMs: number;
  /** After each boot of one of its machines. */
  readonly afterBoot: (machine: Machine) => Promise<void>;
}

interface RolloutObject {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeSet: string };
  readonly status?: { readonly phase: string; readonly reason: string; readonly startedAt?: string };
}

export class Subject {
  readonly #parts: SubjectParts;
  #value = 4096;

  constructor(parts: SubjectParts) {
    this.#parts = parts;
  }

  get name(): string {
    return this.#parts.machine.name;
  }

  get machine(): Machine {
    return this.#parts.machine;
  }

  get confirmDeadlineMs(): number {
    return this.#parts.confirmDeadlineS * 1000;
  }

  node(): SeenNode {
    return this.#nodeOf(this.#parts.machine);
  }

  bystander(): SeenNode | undefined {
    return this.#parts.bystander && this.#nodeOf(this.#parts.bystander);
  }

  look(): Promise<Look> {
    return look(this.#parts.machine, this.#parts.hasKubelet);
  }

  /** The state that it is to come back to: in sync, CRI answering, the kubelet active. */
  async steadyState(): Promise<string> {
    const { state } = await eventually(`${this.name} is steady`, this.#parts.patienceMs, async () => {
      const seen = await this.look();
      return seen.tried === undefined && isSound(seen.state, this.#parts.hasKubelet) && seen;
    });
    return state;
  }

  /** A change that is good and differs from what the kernel has by itself: it is confirmed, and stays. @returns what is wrong */
  async changeForGood(): Promise<readonly string[]> {
    const { machine, bystander, patienceMs } = this.#parts;
    this.#value += 1;
    const machines = bystander === undefined ? [machine] : [machine, bystander];
    const before = machines.map((each) => this.#parts.fleet.node(each.name)?.desiredGeneration ?? 0);
    await this.#order(goodSpec(this.#value, this.#parts.hasKubelet));
    for (const [index, each] of machines.entries()) {
      await eventually(`${each.name} is in sync with a good change`, patienceMs, () => {
        const node = this.#parts.fleet.node(each.name);
        return node?.isInSync === true && node.observedGeneration > before[index]!;
      });
    }
    const seen = await eventually(`${this.name}'s good change is confirmed`, patienceMs, async () => {
      const now = await this.look();
      return now.tried === undefined && now;
    });
    return this.#isAsOrdered(seen.state) ? [] : [`a good change is not on the machine: ${seen.state.slice(0, 300)}`];
  }

  /** What was confirmed before is still there when the next case begins, beyond its deadline. */
  async stayedGood(): Promise<readonly string[]> {
    const { state } = await this.look();
    return this.#isAsOrdered(state) ? [] : [`a good change did not stay: ${state.slice(0, 300)}`];
  }

  async changeForBad(fault: Fault): Promise<void> {
    await this.#order(fault.spec(goodSpec(this.#value, this.#parts.hasKubelet)));
  }

  async kill(): Promise<void> {
    await this.#parts.machine.run("sh", ["-c", `kill -9 "$(systemctl show ${SERVICE}.service | sed -n 's/^MainPID=//p')"`]);
  }

  async cutPower(): Promise<void> {
    await this.#parts.machine.powerCut();
    await this.#parts.machine.boot();
    await this.#parts.afterBoot(this.#parts.machine);
  }

  /** For people: by which ways the machine speaks. */
  async paths(): Promise<string> {
    const { stdout } = await this.#parts.machine.run("sh", ["-c", "ip -o addr; ip route; ip -o link; ss -tnp"]);
    return stdout.replaceAll("\n", " | ");
  }

  async log(): Promise<string> {
    return this.#parts.machine.serviceLog(SERVICE);
  }

  /** The newest rollout of its set. */
  async rollout(): Promise<{ readonly name: string; readonly phase: string; readonly reason: string }> {
    const listed = JSON.parse(await this.#parts.site.mustDrover(["get", "rollouts", "-o", "json"])) as {
      readonly items: readonly RolloutObject[];
    };
    const numberOf = ({ metadata }: RolloutObject): number => Number(metadata.name.slice(metadata.name.lastIndexOf("-") + 1));
    const own = listed.items.filter(({ spec }) => spec.nodeSet === this.name).toSorted((a, b) => numberOf(a) - numberOf(b));
    const last = own.at(-1);
    return { name: last?.metadata.name ?? "", phase: last?.status?.phase ?? "", reason: last?.status?.reason ?? "" };
  }

  difference(before: string, now: string): string {
    return difference(before, now);
  }

  async #order(spec: object): Promise<void> {
    const { site, fleet, confirmDeadlineS } = this.#parts;
    const strategy = {
      maxUnavailable: 1,
      canary: { nodes: 1, selector: { matchLabels: { part: "subject" } } },
      confirmDeadline: `${confirmDeadlineS}s`,
    };
    const file = await site.manifest(
      `set-${this.name}`,
      { apiVersion, kind: "NodeProfile", metadata: { name: this.name }, spec },
      {
        apiVersion,
        kind: "NodeSet",
        metadata: { name: this.name },
        spec: { selector: { matchLabels: { set: this.name } }, profile: this.name, strategy },
      },
    );
    await fleet.apply(file);
  }

  #isAsOrdered(state: string): boolean {
    return state.split("\n").includes(`net/core/somaxconn ${this.#value}`) && isSound(state, this.#parts.hasKubelet);
  }

  #nodeOf({ name }: Machine): SeenNode {
    const node = this.#parts.fleet.node(name);
    if (node === undefined) throw new Error(`the coordinator does not know ${name}`);
    return node;
  }
}

function isSound(state: string, hasKubelet: boolean): boolean {
  const lines = state.split("\n");
  return lines.includes("cri ok") && (!hasKubelet || lines.includes("kubelet active"));
}
