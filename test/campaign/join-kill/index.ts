/**
 * Campaign join-kill: SIGKILL to the agent at random moments of a join, on full machines with a real kubeadm, kubelet and cluster.
 * Each case tells a machine to rejoin and kills its agent once, at a moment chosen by seed between the instruction and the end of a
 * join as it was timed first. systemd starts the agent again and nobody helps it. Then must hold: the machine is another, Ready Node
 * of the cluster with its label and taint; the coordinator says InSync one generation higher; no two kubeadm ever ran at once; the
 * agent was started again exactly once; nothing of kubeadm's unit, configuration or token is left; no bootstrap token of ours is left.
 *
 *   npm run campaign -- join-kill [--count N] [--seed S]
 */
import { setTimeout as pause } from "node:timers/promises";
import { seededRandom } from "@drover/lifecycle";
import { JoinStage, SET } from "../../e2e/join/stage.ts";
import type { FullMachine } from "../../testbed/full/full-machine.ts";
import { eventually } from "../../testbed/program.ts";
import type { Campaign } from "../campaign.ts";
import { Fleet, type SeenNode } from "../fleet.ts";
import { temporaryFiles } from "../machine-traces.ts";
import { KubeadmCount } from "./kubeadm-count.ts";

const MACHINES = 5;
const PATIENCE_MS = 300_000;
const SERVICE = "drover-agent";

export const joinKillCampaign: Campaign = {
  name: "join-kill",
  summary: "kill -9 of the agent at random moments of a join: one kubeadm only, the machine joins, no bootstrap token is left",
  fullCount: 100,
  async run({ count, seed, say }) {
    const random = seededRandom(seed);
    await using stage = await JoinStage.make({ intervals: { poll: "5s" } }, say);
    await stage.adopt();
    const fleet = new Fleet(stage.site);
    const names = Array.from({ length: Math.min(MACHINES, count) }, (_, index) => `kill-${index + 1}`);
    const machines = await Promise.all(names.map((name) => stage.site.addMachine(name, { role: "web" }, { kind: "full" })));
    await stage.site.mustDrover(["apply", "-f", await stage.manifest("web", {}, { maxUnavailable: MACHINES })]);
    for (const name of names) await stage.readyNode(name, PATIENCE_MS);
    const subjects = machines.map((machine) => new Subject(stage, fleet, machine));
    for (const subject of subjects) await subject.inSyncAbove(0);
    // Alone on the machine, as the cases are not: moments late in a join are reached all the same, because a kill waits for nobody.
    const joinMs = await subjects[0]!.timeRejoin();
    say(`a join takes ${(joinMs / 1000).toFixed(1)} s`);
    const tally = { passed: 0, failed: 0, begun: 0, during: new Map<string, number>() };
    const work = async (subject: Subject): Promise<void> => {
      while (tally.begun < count) {
        const number = ++tally.begun;
        const afterMs = Math.round(random.unit() * joinMs * 1.2);
        const { problems, during } = await subject.shoot(afterMs);
        tally.during.set(during, (tally.during.get(during) ?? 0) + 1);
        if (problems.length === 0) tally.passed += 1;
        else {
          tally.failed += 1;
          say(`case ${number} on ${subject.name}, killed after ${afterMs} ms (${during}): ${problems.join("; ")}`);
        }
      }
    };
    await Promise.all(subjects.map(work));
    say(`killed while ${[...tally.during].map(([what, times]) => `${what} ${times}`).join(", ")}`);
    return { passed: tally.passed, failed: tally.failed };
  },
};

/** One machine that joins again and again. */
class Subject {
  readonly #stage: JoinStage;
  readonly #fleet: Fleet;
  readonly #machine: FullMachine;

  constructor(stage: JoinStage, fleet: Fleet, machine: FullMachine) {
    this.#stage = stage;
    this.#fleet = fleet;
    this.#machine = machine;
  }

  get name(): string {
    return this.#machine.name;
  }

  async timeRejoin(): Promise<number> {
    const { desiredGeneration } = this.#node();
    const startedAt = performance.now();
    await this.#rejoin();
    await this.inSyncAbove(desiredGeneration);
    return performance.now() - startedAt;
  }

  async shoot(afterMs: number): Promise<{ readonly problems: readonly string[]; readonly during: string }> {
    const problems: string[] = [];
    let during = "nothing";
    try {
      const before = this.#node();
      const uid = (await this.#stage.nodeOf(this.name))?.metadata.uid;
      const starts = await this.#machine.serviceStarts(SERVICE);
      using kubeadms = new KubeadmCount(this.#machine.pid);
      await this.#rejoin();
      await pause(afterMs);
      during = await this.#kill();
      // Killed late, everything else may be there before systemd has started it again.
      await eventually(
        `${this.name}'s agent is started again`,
        PATIENCE_MS,
        async () => (await this.#machine.serviceStarts(SERVICE)) > starts,
      );
      await this.inSyncAbove(before.desiredGeneration);
      const node = await this.#stage.readyNode(this.name, PATIENCE_MS);
      if (node.metadata.uid === uid) problems.push("it is the same Node as before: it did not join again");
      if (node.metadata.labels["drover.dev/node-set"] !== SET) problems.push("its Node lacks the label of its set");
      if (!(node.spec.taints ?? []).some(({ key }) => key === "dedicated")) problems.push("its Node lacks the taint");
      if (kubeadms.most > 1) problems.push(`${kubeadms.most} kubeadm ran at once`);
      const startedAgain = (await this.#machine.serviceStarts(SERVICE)) - starts;
      if (startedAgain !== 1) problems.push(`the agent was started again ${startedAgain} times`);
      problems.push(...(await this.#leftovers()));
    } catch (error) {
      problems.push((error as Error).message);
      await this.#settle();
    }
    return { problems, during };
  }

  async inSyncAbove(generation: number): Promise<void> {
    await eventually(`${this.name} is in sync above generation ${generation}`, PATIENCE_MS, () => {
      const { isInSync, observedGeneration } = this.#node();
      return isInSync && observedGeneration > generation;
    });
  }

  #node(): SeenNode {
    const node = this.#fleet.node(this.name);
    if (node === undefined) throw new Error(`the coordinator does not know ${this.name}`);
    return node;
  }

  async #rejoin(): Promise<void> {
    await this.#stage.site.mustDrover(["node", "rejoin", this.name, "--yes"]);
  }

  /** @returns what kubeadm was doing */
  async #kill(): Promise<string> {
    const pid = await eventually(`${this.name}'s agent runs`, 30_000, () => this.#machine.servicePid(SERVICE));
    const running = (await this.#machine.run("pgrep", ["-fa", "kubeadm (join|reset)"])).stdout;
    process.kill(pid, "SIGKILL");
    return running.includes(" join") ? "kubeadm join" : running.includes(" reset") ? "kubeadm reset" : "no kubeadm";
  }

  async #leftovers(): Promise<readonly string[]> {
    const problems: string[] = [];
    const units = (await this.#machine.run("systemctl", ["list-units", "--all", "--plain", "--no-legend", "drover-kubeadm*"])).stdout;
    if (units !== "") problems.push(`units are left: ${units}`);
    const files = (
      await this.#machine.run("sh", ["-c", "find /run/drover/kubeadm /etc/kubernetes/bootstrap-kubelet.conf -type f 2>/dev/null"])
    ).stdout;
    if (files !== "") problems.push(`files are left: ${files}`);
    problems.push(...(await temporaryFiles(this.#machine)));
    const { nodeId: own } = this.#node();
    await eventually("its bootstrap tokens are gone", 90_000, async () =>
      (await this.#stage.bootstrapTokens()).every(({ nodeId }) => nodeId !== own),
    ).catch((error: unknown) => problems.push((error as Error).message));
    return problems;
  }

  /** What failed must not fail the cases after it. */
  async #settle(): Promise<void> {
    await eventually(`${this.name} settles`, PATIENCE_MS, () => this.#node().isInSync).catch(() => undefined);
  }
}
