/**
 * Campaign vm-power-cut: kill -9 of qemu at random moments of a plan, on virtual machines with their own kernel, disk and swap. Each case
 * moves a machine from profile a to b or back (global sysctls, modules, swap, containerd with a mirror, images that were taken away
 * before), and cuts its power once, at a moment chosen by seed within a plan as it was timed first. It is booted again and nobody helps it.
 * Then must hold: the coordinator says InSync one generation higher; the machine is as the profile says, read on the machine; no
 * temporary file is left, and all state opens.
 *
 *   npm run campaign -- vm-power-cut [--count N] [--seed S]
 */
import { setTimeout as pause } from "node:timers/promises";
import { availableParallelism } from "node:os";
import { seededRandom } from "@drover/lifecycle";
import { eventually } from "../../testbed/program.ts";
import { Site } from "../../testbed/site.ts";
import type { VirtualMachine } from "../../testbed/vm/virtual-machine.ts";
import type { Campaign } from "../campaign.ts";
import { Fleet, type SeenNode } from "../fleet.ts";
import { removeImages, temporaryFiles } from "../machine-traces.ts";
import { deviations, layOutProfiles, type Letter, nodeSetOf, other, type PowerProfile } from "./profiles.ts";

/** Emulated processors are the machine's own, several at once each. */
const MOST_MACHINES = 2;
const PATIENCE_MS = 400_000;

export const vmPowerCutCampaign: Campaign = {
  name: "vm-power-cut",
  summary: "power cut of a virtual machine in the middle of a plan: it boots, resumes, ends in sync, nothing torn",
  fullCount: 20,
  async run({ count, seed, say }) {
    const random = seededRandom(seed);
    await using site = await Site.make({ intervals: { poll: "10s" } });
    await site.startRegistry();
    const fleet = new Fleet(site);
    const profiles = await layOutProfiles(site);
    const names = Array.from(
      { length: Math.min(count, MOST_MACHINES, Math.ceil(availableParallelism() / 2)) },
      (_, index) => `vm-${index + 1}`,
    );
    const subjects = await Promise.all(
      names.map(async (name) => new Subject(site, fleet, await site.addMachine(name, { subject: name }, { kind: "vm" }), profiles)),
    );
    for (const subject of subjects) await subject.beginLife();
    const planMs = await subjects[0]!.timePlan();
    say(`a plan takes ${(planMs / 1000).toFixed(1)} s`);
    const tally = { passed: 0, failed: 0, begun: 0, unfinished: 0 };
    const work = async (subject: Subject): Promise<void> => {
      while (tally.begun < count) {
        const number = ++tally.begun;
        const afterMs = Math.round(random.unit() * planMs);
        const { problems, wasUnfinished } = await subject.cutPower(afterMs);
        if (wasUnfinished) tally.unfinished += 1;
        if (problems.length === 0) tally.passed += 1;
        else {
          tally.failed += 1;
          say(`case ${number} on ${subject.name}, power cut after ${afterMs} ms: ${problems.join("; ")}`);
        }
      }
    };
    await Promise.all(subjects.map(work));
    say(`${tally.unfinished} of ${count} cuts came before the plan was told to be enforced`);
    return { passed: tally.passed, failed: tally.failed };
  },
};

class Subject {
  readonly #site: Site;
  readonly #fleet: Fleet;
  readonly #machine: VirtualMachine;
  readonly #profiles: Readonly<Record<Letter, PowerProfile>>;
  #letter: Letter = "a";

  constructor(site: Site, fleet: Fleet, machine: VirtualMachine, profiles: Readonly<Record<Letter, PowerProfile>>) {
    this.#site = site;
    this.#fleet = fleet;
    this.#machine = machine;
    this.#profiles = profiles;
  }

  get name(): string {
    return this.#machine.name;
  }

  async beginLife(): Promise<void> {
    await eventually(`${this.name} is enrolled`, PATIENCE_MS, () => this.#fleet.node(this.name) !== undefined);
    await this.#order("a");
    await this.#inSyncAbove(0);
  }

  async timePlan(): Promise<number> {
    const generation = this.#node().desiredGeneration;
    await removeImages(this.#machine, this.#profiles[other(this.#letter)].images);
    const startedAt = performance.now();
    await this.#order(other(this.#letter));
    await this.#inSyncAbove(generation);
    return performance.now() - startedAt;
  }

  async cutPower(afterMs: number): Promise<{ readonly problems: readonly string[]; readonly wasUnfinished: boolean }> {
    const problems: string[] = [];
    let wasUnfinished = true;
    try {
      const wanted = other(this.#letter);
      const generation = this.#node().desiredGeneration;
      await removeImages(this.#machine, this.#profiles[wanted].images);
      await this.#order(wanted);
      await pause(afterMs);
      await this.#machine.powerCut();
      const atCut = this.#node();
      wasUnfinished = !(atCut.isInSync && atCut.observedGeneration > generation);
      await this.#machine.boot();
      await this.#inSyncAbove(generation);
      problems.push(...(await deviations(this.#machine, this.#profiles[wanted])), ...(await this.#torn()));
    } catch (error) {
      problems.push((error as Error).message);
      await this.#machine.powerCut();
      await this.#machine.boot();
    }
    return { problems, wasUnfinished };
  }

  /** Also what the agent itself would say if its state were damaged: it ends, and systemd starts it again and again. */
  async #torn(): Promise<readonly string[]> {
    const parse =
      "for f in /var/lib/drover-agent/*.json; do python3 -c 'import json,sys; json.load(open(sys.argv[1]))' $f || echo $f; done";
    const hasPython = (await this.#machine.run("sh", ["-c", "command -v python3"])).exitCode === 0;
    const unread = hasPython ? (await this.#machine.run("sh", ["-c", parse])).stdout : "";
    const status = await this.#machine.run("/usr/bin/drover-agent", ["status"]);
    return [
      ...(await temporaryFiles(this.#machine)),
      ...(unread === "" ? [] : [`does not parse: ${unread}`]),
      ...(status.exitCode === 0 ? [] : [`drover-agent status ended with ${status.exitCode}: ${status.stderr}${status.stdout}`]),
    ];
  }

  async #order(letter: Letter): Promise<void> {
    await this.#fleet.apply(await this.#site.manifest(`set-${this.name}`, nodeSetOf(this.name, letter)));
    this.#letter = letter;
  }

  #node(): SeenNode {
    const node = this.#fleet.node(this.name);
    if (node === undefined) throw new Error(`the coordinator does not know ${this.name}`);
    return node;
  }

  async #inSyncAbove(generation: number): Promise<void> {
    await eventually(`${this.name} is in sync above generation ${generation}`, PATIENCE_MS, () => {
      const { isInSync, observedGeneration } = this.#node();
      return isInSync && observedGeneration > generation;
    });
  }
}
