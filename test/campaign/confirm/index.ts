/**
 * Campaign confirm (I4): changes that cut their node off, on light machines (its network, its ports, CRI) and full ones (the kubelet) with a real
 * coordinator. In half of the cases the agent is killed -9, or the machine loses its power, at a moment of the window chosen by seed.
 * Each change is undone by the node itself within 10 s of its deadline or the agent's start, whichever is later: files, live values, CRI and
 * kubelet are read on the machine. The coordinator says why, the rollout stops, the set's other machine is given nothing, nothing is tried
 * again; and a good change after it is confirmed and stays.
 *
 *   npm run campaign -- confirm [--count N] [--seed S]
 *   CONFIRM_FAULT=cri CONFIRM_BLOW=kill npm run campaign -- confirm --count 4        one kind of change, or of blow, only
 */
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { seededRandom } from "@drover/lifecycle";
import type { Machine } from "../../testbed/machine.ts";
import { eventually } from "../../testbed/program.ts";
import { nodeProgram, Site } from "../../testbed/site.ts";
import type { Campaign } from "../campaign.ts";
import { Fleet } from "../fleet.ts";
import { addSecondLeg, configureLonelyKubelet, type FaultName, faults, plantContainerd } from "./faults.ts";
import { Subject } from "./subject.ts";
import { type Blow, tryChange } from "./trial.ts";

/** Each with a bystander. What is measured are seconds: no more at once than there are processors. */
const MOST_LIGHT = Math.min(4, availableParallelism());
const MOST_FULL = 2;
const agentMain = fileURLToPath(new URL("../../../agent/src/main.ts", import.meta.url));
const PATIENCE_MS = 150_000;
const LIGHT_DEADLINE_S = 12;
/** A kubelet is watched for 10 s before its change is asked to be confirmed. */
const FULL_DEADLINE_S = 30;
/** One round of five: a tenth has one of each. */
const ROUND: readonly FaultName[] = ["kubelet", "network", "cri", "ports", "cri"];
const BLOWS: readonly Blow[] = ["none", "kill", "none", "kill", "none", "power cut"];

interface Case {
  readonly number: number;
  readonly fault: FaultName;
  readonly blow: Blow;
  /** Of the window. */
  readonly at: number;
}

export const confirmCampaign: Campaign = {
  name: "confirm",
  summary: "a change that cuts its node off, kill -9 or a power cut before it is confirmed: undone by the node itself, never tried again",
  fullCount: 50,
  async run({ count, seed, say }) {
    const random = seededRandom(seed);
    const { CONFIRM_FAULT: onlyFault, CONFIRM_BLOW: onlyBlow } = process.env as { CONFIRM_FAULT?: FaultName; CONFIRM_BLOW?: Blow };
    const cases = Array.from({ length: count }, (_, index): Case => {
      const fault = onlyFault ?? ROUND[index % ROUND.length]!;
      const blow = BLOWS[Math.floor(random.unit() * BLOWS.length)]!;
      return { number: index + 1, fault, blow: onlyBlow ?? blow, at: random.unit() };
    });
    const forFull = cases.filter(({ fault }) => fault === "kubelet");
    const forLight = cases.filter(({ fault }) => fault !== "kubelet");
    // What an agent is compiled to is kept, as in the executable that is installed: else a start of it takes seconds of a busy processor.
    const compileCache = await mkdtemp(join(tmpdir(), "drover-compiled-"));
    await using _cleanUp = { [Symbol.asyncDispose]: () => rm(compileCache, { recursive: true, force: true }) };
    const agent = ["/usr/bin/env", `NODE_COMPILE_CACHE=${compileCache}`, nodeProgram, agentMain];
    await using site = await Site.make({ intervals: { poll: "2s" }, agent });
    const fleet = new Fleet(site, compileCache);
    const numbers = (most: number, queue: readonly Case[]): number[] =>
      Array.from({ length: Math.min(most, queue.length) }, (_, index) => index + 1);
    const subjects = await Promise.all([
      ...numbers(MOST_LIGHT, forLight).map(async (each) => ({
        queue: forLight,
        subject: await lightSubject(site, fleet, `light-${each}`),
      })),
      ...numbers(MOST_FULL, forFull).map(async (each) => ({ queue: forFull, subject: await fullSubject(site, fleet, `full-${each}`) })),
    ]);
    say(`${subjects.length} machines are in sync`);
    const tally = { passed: 0, failed: 0, late: [] as number[], ends: new Map<string, number>() };
    await Promise.all(
      subjects.map(async ({ queue, subject }) => {
        for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
          const { problems, end, lateMs } = await oneCase(subject, next);
          tally.ends.set(end, (tally.ends.get(end) ?? 0) + 1);
          if (lateMs !== undefined) tally.late.push(lateMs);
          if (problems.length === 0) tally.passed += 1;
          else {
            tally.failed += 1;
            say(
              `case ${next.number} on ${subject.name}, ${next.fault}, ${next.blow} at ${next.at.toFixed(2)} of the window: ${problems.join("; ")}`,
            );
          }
        }
      }),
    );
    for (const [end, times] of [...tally.ends].toSorted(([a], [b]) => (a < b ? -1 : 1))) say(`${times} x ${end}`);
    say(`the last was undone ${(Math.max(...tally.late) / 1000).toFixed(1)} s after the later of its deadline and the agent's start`);
    return { passed: tally.passed, failed: tally.failed };
  },
};

async function oneCase(
  subject: Subject,
  { fault, blow, at }: Case,
): Promise<{ readonly problems: readonly string[]; readonly end: string; readonly lateMs: number | undefined }> {
  // A little beyond it, so that the undo itself is hit as well; a kubelet's step has ended sooner.
  const windowMs = fault === "kubelet" ? 15_000 : subject.confirmDeadlineMs + 2_000;
  try {
    const { problems, reason, lateMs } = await tryChange(subject, {
      fault: faults[fault],
      blow,
      afterMs: at * windowMs,
      patienceMs: PATIENCE_MS,
    });
    const good = await subject.changeForGood();
    return { problems: [...problems, ...good], end: `${fault}, ${blow}: ${reason}`, lateMs };
  } catch (error) {
    const { message, cause } = error as Error;
    // What failed must not fail the cases after it.
    await subject.changeForGood().catch(() => undefined);
    return {
      problems: [cause instanceof Error ? `${message} (${cause.message})` : message],
      end: `${fault}, ${blow}: failed`,
      lateMs: undefined,
    };
  }
}

async function lightSubject(site: Site, fleet: Fleet, name: string): Promise<Subject> {
  const legs = (machine: Machine): Promise<void> => addSecondLeg(machine, site.bed, site.bed.address);
  const machine = await site.addMachine(name, { set: name, part: "subject" });
  const bystander = await site.addMachine(`${name}-b`, { set: name, part: "bystander" });
  await legs(machine);
  await plantContainerd(machine);
  const parts = {
    site,
    fleet,
    machine,
    bystander,
    hasKubelet: false,
    confirmDeadlineS: LIGHT_DEADLINE_S,
    patienceMs: PATIENCE_MS,
    afterBoot: legs,
  };
  return begun(new Subject(parts), fleet, [name, `${name}-b`]);
}

async function fullSubject(site: Site, fleet: Fleet, name: string): Promise<Subject> {
  const machine = await site.addMachine(name, { set: name, part: "subject" }, { kind: "full", prepare: configureLonelyKubelet });
  const afterBoot = async (): Promise<void> => undefined;
  const parts = {
    site,
    fleet,
    machine,
    bystander: undefined,
    hasKubelet: true,
    confirmDeadlineS: FULL_DEADLINE_S,
    patienceMs: PATIENCE_MS,
    afterBoot,
  };
  return begun(new Subject(parts), fleet, [name]);
}

async function begun(subject: Subject, fleet: Fleet, names: readonly string[]): Promise<Subject> {
  await eventually(`${names.join(" and ")} are enrolled`, PATIENCE_MS, () => names.every((name) => fleet.node(name) !== undefined));
  const problems = await subject.changeForGood();
  if (problems.length > 0) throw new Error(problems.join("; "));
  return subject;
}
