/**
 * Campaign agent-kill: SIGKILL to the agent somewhere in a plan that changes all three steps (sysctl; containerd with a mirror
 * and its parallel downloads; three images, one of them from an archive), on machines with a real containerd, coordinator, NATS
 * and registry. One plan is recorded first; then, mixed by seed, each case kills either
 *   failpoint:NAME:K   at the K-th passing of a named place of agent/src/reconcile (drift repair at the start included), or
 *   syscall:NAME:K     when a thread of the agent enters that system call for the K-th time after the plan was ordered (strace).
 * Each case moves a machine from profile a to b or back, its images taken away before, so all steps have work. The supervisor
 * starts the agent again and nobody helps it. Then must hold: the coordinator says InSync one generation higher, and so does the
 * machine (/proc/sys, `containerd config dump`, certs.d, images and pins); no temporary file is left and all state opens; the
 * agent was started again exactly once; containerd was restarted once or twice; reports have no hole, every step says once in
 * effect that it changed, at most one result is told twice. A kill that did not happen is no case: another point is taken.
 *
 *   npm run campaign -- agent-kill [--count N] [--seed S]
 *   AGENT_KILL_AT=syscall:fsync:3 npm run campaign -- agent-kill --count 4      the same point again and again
 *   AGENT_KILL_KEEP=DIR ...                                                      agent logs and traces of failed cases go there
 */
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { seededRandom } from "@drover/lifecycle";
import { eventually } from "../../testbed/program.ts";
import { nodeProgram, Site } from "../../testbed/site.ts";
import type { Campaign } from "../campaign.ts";
import { Fleet, type SeenNode } from "../fleet.ts";
import { removeImages } from "../machine-traces.ts";
import {
  countFailpoints,
  countSyscalls,
  formatPoint,
  killingSyscalls,
  type KillPoint,
  killPoints,
  parsePoint,
  type RecordedRun,
} from "./points.ts";
import { archiveFile, deviations, layOutProfiles, type Letter, other, type Profile } from "./profiles.ts";
import { NodeReports, reportProblems } from "./reports.ts";
import { PATIENCE_MS, Subject } from "./subject.ts";
import { tornFiles } from "./torn-files.ts";

const startAgent = fileURLToPath(new URL("./start-agent.sh", import.meta.url));
const agentMain = fileURLToPath(new URL("../../../agent/src/main.ts", import.meta.url));
const MOST_MACHINES = 4;
/** Points that were not reached, in a row, before a case counts as failed. */
const MOST_TRIES = 8;
/** What is told or written a moment after the coordinator says InSync. */
const SETTLES_WITHIN_MS = 30_000;

export const agentKillCampaign: Campaign = {
  name: "agent-kill",
  summary: "kill -9 of the agent anywhere in a plan of all three steps; it resumes unaided, nothing torn, nothing twice",
  fullCount: 300,
  async run({ count, seed, say }) {
    // Processes start hundreds of times here: what they are compiled to is kept.
    const compileCache = await mkdtemp(join(tmpdir(), "drover-compiled-"));
    await using _cleanUp = { [Symbol.asyncDispose]: () => rm(compileCache, { recursive: true, force: true }) };
    await using site = await Site.make({
      intervals: { poll: "2s" },
      agent: ["/bin/sh", startAgent, nodeProgram, agentMain],
      agentEnvironment: { NODE_COMPILE_CACHE: compileCache },
    });
    const range = new Range(site, await layOut(site, compileCache));
    const machines = Math.min(count, MOST_MACHINES, availableParallelism());
    const names = Array.from({ length: machines }, (_, index) => `subject-${index + 1}`);
    const subjects = await Promise.all(names.map((name) => range.addSubject(name)));
    const only = process.env["AGENT_KILL_AT"];
    const recorded = await range.record(subjects[0]!);
    const points = killPoints(recorded, seededRandom(seed));
    const next = (): KillPoint => (only === undefined ? points.next().value : parsePoint(only));
    say(
      `recorded: ${total(recorded.failpoints)} passings of ${Object.keys(recorded.failpoints).length} failpoints, ` +
        `${total(recorded.syscalls)} calls of ${Object.keys(recorded.syscalls).length} kinds in one thread`,
    );
    const tally = { passed: 0, failed: 0, notReached: 0, begun: 0 };
    const killed = new Map<string, number>();
    const work = async (subject: Subject): Promise<void> => {
      while (tally.begun < count) {
        const number = ++tally.begun;
        const outcome = await range.case(subject, number, next);
        tally.notReached += outcome.notReached.length;
        for (const { how, name } of outcome.point === undefined ? [] : [outcome.point])
          killed.set(`${how}:${name}`, (killed.get(`${how}:${name}`) ?? 0) + 1);
        if (outcome.problems.length === 0) tally.passed += 1;
        else {
          tally.failed += 1;
          say(`case ${number} on ${subject.name}, ${outcome.title}: ${outcome.problems.join("; ")}`);
          if (outcome.point !== undefined)
            say(`  again: AGENT_KILL_AT=${formatPoint(outcome.point)} npm run campaign -- agent-kill --count 4`);
        }
      }
    };
    await Promise.all(subjects.map(work));
    const kinds = [...killed].sort(([a], [b]) => (a < b ? -1 : 1));
    say(`killed at ${kinds.map(([name, times]) => `${name} ${times}`).join(", ")}; ${tally.notReached} points were not reached`);
    return { passed: tally.passed, failed: tally.failed };
  },
};

interface CaseOutcome {
  readonly title: string;
  /** undefined: no kill came about. */
  readonly point: KillPoint | undefined;
  readonly notReached: readonly KillPoint[];
  readonly problems: readonly string[];
}

interface Parts {
  readonly fleet: Fleet;
  readonly reports: NodeReports;
  readonly profiles: Readonly<Record<Letter, Profile>>;
}

async function layOut(site: Site, compileCache: string): Promise<Parts> {
  await site.startRegistry();
  return { fleet: new Fleet(site, compileCache), reports: new NodeReports(site.dataDirectory), profiles: await layOutProfiles(site) };
}

/** Where machines are shot at. */
class Range {
  readonly #site: Site;
  readonly #parts: Parts;
  #traces = 0;

  constructor(site: Site, parts: Parts) {
    this.#site = site;
    this.#parts = parts;
  }

  async addSubject(name: string): Promise<Subject> {
    const machine = await this.#site.addMachine(name, { subject: name });
    const archives = join(machine.directory, "var-lib/archives");
    await mkdir(archives, { recursive: true });
    for (const letter of ["a", "b"] as const)
      await copyFile(join(this.#site.bed.directory, archiveFile(letter)), join(archives, archiveFile(letter)));
    const subject = new Subject(this.#site, this.#parts.fleet, machine);
    await subject.beginLife("a");
    return subject;
  }

  /** One plan with all passings logged, then one with all system calls traced; nobody is killed. */
  async record(subject: Subject): Promise<RecordedRun> {
    const offset = await subject.logLength();
    await subject.restartArmed("record");
    await this.#scanned(subject, offset);
    await this.#change(subject);
    const failpoints = countFailpoints(await subject.logSince(offset));
    const file = this.#traceFile(subject);
    const trace = await subject.trace(`${file}.log`, ["-o", file, "-e", `trace=${killingSyscalls.join(",")}`]);
    await this.#change(subject);
    await trace.stop();
    return { failpoints, syscalls: countSyscalls(await readFile(file, "utf8")) };
  }

  /** Points until one of them is reached and kills; then what must hold. */
  async case(subject: Subject, number: number, next: () => KillPoint): Promise<CaseOutcome> {
    const notReached: KillPoint[] = [];
    for (;;) {
      const point = next();
      const from = subject.letter;
      const title = `${formatPoint(point)} (${from} to ${other(from!)})`;
      const logOffset = await subject.logLength();
      let problems: readonly string[];
      try {
        const shot = await this.#shoot(subject, point);
        if (shot === "not reached") {
          notReached.push(point);
          if (notReached.length < MOST_TRIES) continue;
          return { title, point: undefined, notReached, problems: [`${MOST_TRIES} points in a row were not reached`] };
        }
        problems = shot;
      } catch (error) {
        const { message, cause } = error as Error;
        problems = [cause instanceof Error ? `${message} (${cause.message})` : message];
      }
      if (problems.length > 0) {
        await this.#keep(subject, number, logOffset);
        await this.#recover(subject);
      }
      return { title, point, notReached, problems };
    }
  }

  /** One change with one kill. @returns what is wrong afterwards */
  async #shoot(subject: Subject, point: KillPoint): Promise<readonly string[] | "not reached"> {
    const containerdStarts = await subject.containerdStarts();
    let agentStarts = await subject.agentStarts();
    let before: SeenNode;
    let target: Letter;
    if (point.how === "failpoint") {
      const offset = await subject.logLength();
      await subject.restartArmed(`${point.name}:${point.k}`);
      agentStarts += 1;
      if (point.name.includes("drift")) await this.#scanned(subject, offset);
      ({ before, target } = await this.#change(subject));
    } else {
      const file = this.#traceFile(subject);
      const inject = `inject=${point.name}:signal=KILL:when=${point.k}`;
      const trace = await subject.trace(`${file}.log`, ["-o", "/dev/null", "-e", `trace=${point.name}`, "-e", inject]);
      try {
        ({ before, target } = await this.#change(subject));
      } finally {
        await trace.stop();
      }
    }
    return this.#judge(subject, point, before, target, { agentStarts, containerdStarts });
  }

  /** A kill at a plan's very end comes when the coordinator has said InSync already: what was verified across it counts for nothing. */
  async #judge(
    subject: Subject,
    point: KillPoint,
    before: SeenNode,
    target: Letter,
    { agentStarts, containerdStarts }: { readonly agentStarts: number; readonly containerdStarts: number },
  ): Promise<readonly string[] | "not reached"> {
    for (;;) {
      const startsBefore = await subject.agentStarts();
      const problems = await this.#settled(async () => this.#verify(subject, before, target, containerdStarts));
      const isRunning = (await subject.machine.servicePid("drover-agent")) !== undefined;
      if (!isRunning || (await subject.agentStarts()) !== startsBefore) continue;
      const starts = startsBefore - agentStarts;
      if (starts === 0) {
        // An armed agent that lives on would die in a later case.
        if (point.how === "failpoint") await subject.restartClean();
        if (problems.length === 0) return "not reached";
      }
      return starts === 1 ? problems : [`the agent was started ${starts} times after the kill`, ...problems];
    }
  }

  /** From the profile it has to the other, as far as the coordinator's InSync. */
  async #change(subject: Subject): Promise<{ readonly before: SeenNode; readonly target: Letter }> {
    const target = other(subject.letter!);
    await removeImages(subject.machine, this.#parts.profiles[target].images);
    const before = subject.node();
    await subject.order(target);
    await subject.inSyncAbove(before.desiredGeneration);
    subject.letter = target;
    return { before, target };
  }

  async #verify(subject: Subject, before: SeenNode, target: Letter, containerdStarts: number): Promise<readonly string[]> {
    const { profiles, reports } = this.#parts;
    const { nodeId, desiredGeneration, isInSync } = subject.node();
    const restarts = (await subject.containerdStarts()) - containerdStarts;
    return [
      ...(isInSync ? [] : ["it did not stay in sync"]),
      ...(desiredGeneration === before.desiredGeneration + 1 ? [] : [`generation ${before.desiredGeneration} became ${desiredGeneration}`]),
      ...(restarts === 1 || restarts === 2 ? [] : [`containerd was restarted ${restarts} times`]),
      ...(await deviations(subject.machine, profiles[target], profiles[other(target)])),
      ...(await tornFiles(subject.machine, subject.stateDirectory)),
      ...reportProblems(await reports.of(nodeId), desiredGeneration),
    ];
  }

  /** No problems, or those that stay. */
  async #settled(ask: () => Promise<readonly string[]>): Promise<readonly string[]> {
    let last: readonly string[] = [];
    await eventually("nothing is wrong", SETTLES_WITHIN_MS, async () => {
      last = await ask();
      return last.length === 0;
    }).catch((error: unknown) => {
      if (last.length === 0) throw error;
    });
    return last;
  }

  /** The armed agent has looked for drift, or died of it. */
  async #scanned(subject: Subject, offset: number): Promise<void> {
    await eventually(`${subject.name} was scanned for drift`, PATIENCE_MS, async () =>
      (await subject.logSince(offset)).includes('"msg":"drift scan ended"'),
    );
  }

  #traceFile(subject: Subject): string {
    return join(this.#site.bed.directory, `trace-${subject.name}-${++this.#traces}`);
  }

  /** A failed case must not fail the next: the machine is brought where it was going, armed with nothing. */
  async #recover(subject: Subject): Promise<void> {
    await subject.machine.run("rm", ["-f", "/run/drover-failpoint"]);
    await this.#change(subject).catch(() => undefined);
  }

  async #keep(subject: Subject, number: number, logOffset: number): Promise<void> {
    const directory = process.env["AGENT_KILL_KEEP"];
    if (directory === undefined) return;
    const place = join(directory, `case-${number}`);
    await mkdir(place, { recursive: true });
    await writeFile(join(place, "agent.log"), await subject.logSince(logOffset));
    await copyFile(this.#site.coordinatorLogFile, join(place, "coordinator.log"));
  }
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
