/** One case: a change that cuts its node off, with one fault in the window to confirm it; what must hold is measured on the machine. */
import { setTimeout as pause } from "node:timers/promises";
import { eventually } from "../../testbed/program.ts";
import type { Fault } from "./faults.ts";
import type { Look } from "./look.ts";
import type { Subject } from "./subject.ts";

/** I4: by the deadline or the agent's start, whichever is later, and this. */
export const GRACE_MS = 10_000;
/** How long nothing may be tried again afterwards. */
const WATCH_MS = 6_000;
const LOOK_MS = 250;

export type Blow = "none" | "kill" | "power cut";

export interface TrialOrder {
  readonly fault: Fault;
  readonly blow: Blow;
  /** After the try record was first seen. */
  readonly afterMs: number;
  readonly patienceMs: number;
}

export interface TrialEnd {
  readonly problems: readonly string[];
  /** As the coordinator tells it. */
  readonly reason: string;
  /** From the later of deadline and agent's start to what was before; below zero: sooner. */
  readonly lateMs: number | undefined;
}

export async function tryChange(subject: Subject, order: TrialOrder): Promise<TrialEnd> {
  const { fault, blow, patienceMs } = order;
  const problems: string[] = [...(await subject.stayedGood())];
  const before = await subject.steadyState();
  const generation = subject.node().desiredGeneration;
  const bystander = subject.bystander();
  await subject.changeForBad(fault);
  const { lateMs, firstGeneration } = await undone(subject, order, before);
  if (lateMs > GRACE_MS) problems.push(`undone ${(lateMs / 1000).toFixed(1)} s after its deadline and the agent's start`);

  const { planReason } = await eventually("the coordinator is told", patienceMs, () => {
    const node = subject.node();
    // Cut short by a boot it is given a new generation, by which it is tried once more.
    return node.observedGeneration >= node.desiredGeneration && isFinal(node.planReason, fault) && node;
  });
  const rollout = await eventually("the rollout has stopped", patienceMs, async () => {
    const found = await subject.rollout();
    return found.phase === "Stopped" && found;
  });
  if (!rollout.name.startsWith(subject.name)) problems.push(`rollout ${rollout.name} is another set's`);
  const generations = subject.node().desiredGeneration - generation;
  const allowed = blow === "power cut" ? 3 : 1;
  if (generations > allowed) problems.push(`it was tried in ${generations} generations`);
  if (firstGeneration <= generation) problems.push(`generation ${firstGeneration} was tried, ${generation} was there before`);

  const offset = (await subject.log()).length;
  const settled = (await subject.look()).state;
  if (settled !== before) problems.push(`not as before: ${subject.difference(before, settled)}`);
  await pause(WATCH_MS);
  const after = await subject.look();
  if (after.state !== before) problems.push(`did not stay as before: ${subject.difference(before, after.state)}`);
  if (after.tried !== undefined) problems.push(`a try record of generation ${after.tried.generation} is there again`);
  if ((await subject.log()).slice(offset).includes('"msg":"applying plan"')) problems.push("a plan is applied again");
  problems.push(...repeated(await subject.log()));
  if (subject.node().desiredGeneration - generation !== generations) problems.push("it was given another generation");
  const now = subject.bystander();
  if (now?.desiredGeneration !== bystander?.desiredGeneration) problems.push("the bystander was given the change");
  return { problems, reason: planReason, lateMs };
}

/** Looks until the machine is as it was before, dealing the blow on the way. */
async function undone(
  subject: Subject,
  { fault, blow, afterMs, patienceMs }: TrialOrder,
  before: string,
): Promise<{ readonly lateMs: number; readonly firstGeneration: number }> {
  const beganMs = performance.now();
  let last: Look | undefined;
  let deadlineMs = 0;
  let firstGeneration: number | undefined;
  let firstSeenMs = 0;
  let isDealt = blow === "none";
  for (;;) {
    if (performance.now() - beganMs > patienceMs) {
      if (last === undefined) throw new Error(`not undone within ${patienceMs} ms: no try record was seen`);
      const record = last.tried === undefined ? "none" : `${last.tried.phase} of generation ${last.tried.generation}`;
      const ends = planEnds(await subject.log()).slice(-3);
      throw new Error(
        `not undone within ${patienceMs} ms: ${subject.difference(before, last.state)}; try record: ${record}; plans ended: ${JSON.stringify(ends)}; ${await subject.paths()}`,
      );
    }
    const seen = await subject.look();
    last = seen;
    if (seen.tried?.kinds.includes(fault.kind) === true && seen.tried.phase !== "undoing") {
      firstGeneration ??= seen.tried.generation;
      if (firstSeenMs === 0) firstSeenMs = performance.now();
      deadlineMs = seen.tried.deadlineMs;
    }
    if (firstGeneration !== undefined && !isDealt && performance.now() - firstSeenMs >= afterMs) {
      isDealt = true;
      await (blow === "kill" ? subject.kill() : subject.cutPower());
      // By another boot it is undone whatever its deadline was.
      if (blow === "power cut") deadlineMs = 0;
      continue;
    }
    const isBack = seen.state === before && (seen.tried === undefined || seen.tried.phase === "undoing");
    if (isDealt && firstGeneration !== undefined && isBack) {
      return { firstGeneration, lateMs: seen.atMs - Math.max(deadlineMs, seen.agentStartMs ?? seen.atMs) };
    }
    await pause(LOOK_MS);
  }
}

/** Reasons with which a rollout stops; after a boot in the window it goes on by itself. */
function isFinal(reason: string, fault: Fault): boolean {
  return reason !== "BootedUnconfirmed" && fault.reasons.includes(reason);
}

export interface PlanEnd {
  readonly generation: number;
  readonly outcome: string;
  readonly reason: string;
}

/** As the agent's log of all its lives tells them. */
export function planEnds(log: string): readonly PlanEnd[] {
  return lines(log).flatMap(({ msg, generation, outcome = "", reason = "" }) =>
    msg === "plan ended" && generation !== undefined ? [{ generation, outcome, reason }] : [],
  );
}

/** I2: what was rejected is not applied again. */
function repeated(log: string): readonly string[] {
  const rejected = new Set<number>();
  const again: string[] = [];
  for (const { msg, generation, outcome } of lines(log)) {
    if (generation === undefined) continue;
    if (msg === "plan ended" && outcome === "rejected") rejected.add(generation);
    else if (msg === "applying plan" && rejected.has(generation)) again.push(`rejected generation ${generation} was applied again`);
  }
  return again;
}

interface LogLine {
  readonly msg?: string;
  readonly generation?: number;
  readonly outcome?: string;
  readonly reason?: string;
}

/** A line that a kill cut off tells nothing. */
function lines(log: string): readonly LogLine[] {
  return log.split("\n").flatMap((line): readonly LogLine[] => {
    if (!line.startsWith("{")) return [];
    try {
      return [JSON.parse(line) as LogLine];
    } catch {
      return [];
    }
  });
}
