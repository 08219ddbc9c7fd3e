/**
 * One step, from observe to verified: observe -> refuse -> diff -> nothing? unchanged : (impact within bound) intent ->
 * apply -> observe again -> changed | failed. Whoever calls says what an intent is and where results go.
 */
import { type Clock, DeadlineExceeded, sleep } from "@drover/lifecycle";
import { type Change, Impact, type SpecOf, type StepKind } from "@drover/proto";
import type { Host } from "../host/host.ts";
import { type Credentials, type Step, type StepCondition, StepError, type StepMemory, type StepProgress } from "../steps/step.ts";
import type { Failpoint } from "./failpoints.ts";
import type { OutputSink, OutputSummary } from "./reconcile-ports.ts";

export interface StepRun {
  readonly outcome: "unchanged" | "changed" | "failed";
  readonly changes: readonly Change[];
  /** undefined: could not be observed. */
  readonly conditions: readonly StepCondition[] | undefined;
  /** Empty unless failed. */
  readonly reason: string;
  readonly message: string;
  readonly isRetryable: boolean;
  /** What it had changed is back as it was. */
  readonly isUndone: boolean;
  readonly durationMs: number;
  readonly output: OutputSummary;
}

export interface StepOrder<K extends StepKind> {
  readonly id: string;
  readonly step: Step<K>;
  readonly spec: SpecOf<K>;
  readonly impactBound: Impact;
  readonly deadlineMs: number;
  /** Called with what is about to be changed; effects begin when it resolves. */
  readonly intend: (changes: readonly Change[]) => Promise<void>;
  /** Set when an effect may have happened before: what that intent was to change. */
  readonly unfinished: readonly Change[] | undefined;
}

export interface StepSurroundings {
  readonly host: Host;
  readonly clock: Clock;
  readonly memory: StepMemory;
  readonly credentials: Credentials;
  /** Of the plan. */
  readonly generation: number;
  /** What was tried is taken back (I4). */
  readonly isUndo?: boolean;
  readonly output: OutputSink;
  readonly progress: (progress: StepProgress) => void;
  readonly failpoint: Failpoint;
  /** Asks to stop: what runs may finish for 20 s, then it is aborted and has no result. */
  readonly signal: AbortSignal;
  /** Its reason ends the step at once: what it has changed is to be undone (I4). */
  readonly overdue?: AbortSignal;
}

/** The agent stops, and the step did not end in the time it was given. */
class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** The step ignored its abort: the process must end, or two runs of it would meet. */
export class StepHung extends Error {
  override readonly name = "StepHung";
  readonly isFatal = true;
}

export const NO_OUTPUT: OutputSummary = { tail: "", digest: Buffer.alloc(0), heldBytes: 0 };
const ABORT_GRACE_MS = 60_000;
const FINISH_MS = 20_000;

/** @throws the signal's reason when it ended the step; what is fatal (durable state failed) */
export async function runStep<K extends StepKind>(order: StepOrder<K>, around: StepSurroundings): Promise<StepRun> {
  const startedMs = around.clock.monotonicMs();
  const output = lazily(() => around.output.begin(order.id));
  const context = { ...around, say: (line: string) => output.get().say(line) };
  let changes: readonly Change[] = [];
  const ended = async (run: Pick<StepRun, "outcome"> & Partial<StepRun>): Promise<StepRun> => ({
    changes,
    conditions: undefined,
    reason: "",
    message: "",
    isRetryable: false,
    isUndone: false,
    durationMs: Math.round(around.clock.monotonicMs() - startedMs),
    output: output.made === undefined ? NO_OUTPUT : await output.made.finish(),
    ...run,
  });
  try {
    return await settledWithin(order, around, async (signal) => {
      const { step, spec } = order;
      const observed = await step.observe(spec, { ...context, signal });
      const refusal = step.refuse(spec, observed);
      if (refusal !== undefined) return ended({ outcome: "failed", conditions: step.conditions(spec, observed), ...refusal });
      changes = step.diff(spec, observed);
      if (changes.length === 0) {
        const conditions = step.conditions(spec, observed);
        if (order.unfinished === undefined) return ended({ outcome: "unchanged", conditions });
        changes = order.unfinished;
        return ended({ outcome: "changed", conditions });
      }
      const impact = impactOf(changes);
      if (impact > order.impactBound) {
        const conditions = step.conditions(spec, observed);
        return ended({ outcome: "failed", conditions, ...impactExceeded(changes, impact, order.impactBound) });
      }
      await order.intend(changes);
      around.failpoint("step.apply.before");
      await step.apply(spec, changes, { ...context, signal });
      around.failpoint("step.apply.after");
      const after = await step.observe(spec, { ...context, signal });
      around.failpoint("step.verified.after");
      const conditions = step.conditions(spec, after);
      const left = step.refuse(spec, after) === undefined ? step.diff(spec, after) : changes;
      if (left.length > 0) return ended({ outcome: "failed", conditions, ...notInSync(left) });
      return ended({ outcome: "changed", conditions });
    });
  } catch (error) {
    if (error instanceof Interrupted) throw around.signal.reason;
    if (isFatal(error)) throw error;
    return ended({ outcome: "failed", ...failureOf(error) });
  }
}

/** The highest impact among them; a change without one counts as the worst. */
export function impactOf(changes: readonly Change[]): Impact {
  return changes.reduce<Impact>((worst, { impact }) => {
    const counted = impact < Impact.IMPACT_LIVE ? Impact.IMPACT_REBOOT : impact;
    return counted > worst ? counted : worst;
  }, Impact.IMPACT_UNSPECIFIED);
}

export function isFatal(error: unknown): boolean {
  return error instanceof Error && (error as { isFatal?: unknown }).isFatal === true;
}

/** How an error ends a step. */
export function failureOf(error: unknown): Pick<StepRun, "reason" | "message" | "isRetryable"> & Partial<StepRun> {
  if (error instanceof StepError) {
    const { reason, message, isRetryable, isUndone } = error;
    return { reason, message: bounded(message), isRetryable, isUndone };
  }
  if (error instanceof DeadlineExceeded) return { reason: "DeadlineExceeded", message: bounded(error.message), isRetryable: true };
  const message = bounded(error instanceof Error ? error.message : String(error));
  const isIo = error instanceof Error && "code" in error;
  return { reason: isIo ? "IoError" : "Bug", message, isRetryable: true };
}

/** Runs work under the step's deadline; unlike a race it waits until work has really ended. */
async function settledWithin<T>(
  order: { readonly id: string; readonly deadlineMs: number },
  around: Pick<StepSurroundings, "clock" | "signal" | "overdue">,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { clock, signal, overdue } = around;
  signal.throwIfAborted();
  const deadline = new AbortController();
  const over = new AbortController();
  let cancelFinish = (): void => undefined;
  const onAbort = (): void => {
    cancelFinish = clock.setTimer(FINISH_MS, () => deadline.abort(new Interrupted()));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  const onOverdue = (): void => deadline.abort(overdue?.reason);
  overdue?.addEventListener("abort", onOverdue, { once: true });
  const late = (): void => deadline.abort(new DeadlineExceeded(`step ${order.id} took longer than ${order.deadlineMs} ms`));
  const cancel = clock.setTimer(order.deadlineMs, late);
  const hung = new Promise<never>((_resolve, reject) => {
    deadline.signal.addEventListener("abort", () => {
      sleep(clock, ABORT_GRACE_MS, over.signal).then(
        () => reject(new StepHung(`step ${order.id} went on ${ABORT_GRACE_MS} ms after it was told to stop`)),
        () => undefined,
      );
    });
  });
  try {
    return await Promise.race([work(deadline.signal), hung]);
  } catch (error) {
    // Whatever a step throws because it was told to stop: why it was told to counts.
    if (deadline.signal.aborted && !isFatal(error)) throw deadline.signal.reason;
    throw error;
  } finally {
    // With a reason of ours: an error that nobody reads would be made else, with its stack.
    over.abort(order.id);
    cancel();
    cancelFinish();
    signal.removeEventListener("abort", onAbort);
    overdue?.removeEventListener("abort", onOverdue);
  }
}

function impactExceeded(changes: readonly Change[], impact: Impact, bound: Impact): Pick<StepRun, "reason" | "message"> {
  const worst = changes.find((change) => impactOf([change]) === impact);
  return {
    reason: "ImpactExceeded",
    message: `changing ${worst?.path} has impact ${IMPACT_NAME[impact]}, approved is ${IMPACT_NAME[bound]}`,
  };
}

function notInSync(left: readonly Change[]): Pick<StepRun, "reason" | "message" | "isRetryable"> {
  const shown = left.slice(0, 5).map((change) => `${change.path} is ${change.from || "absent"}, wanted ${change.to || "absent"}`);
  const more = left.length > 5 ? ` and ${left.length - 5} more` : "";
  return { reason: "NotInSync", message: bounded(`read back after applying: ${shown.join("; ")}${more}`), isRetryable: true };
}

const IMPACT_NAME: Readonly<Record<number, string>> = { 0: "none", 1: "live", 2: "restart", 3: "drain", 4: "reboot" };

function bounded(text: string): string {
  return text.length > 1000 ? `${text.slice(0, 997)}...` : text;
}

function lazily<T>(make: () => T): { get(): T; readonly made: T | undefined } {
  let made: T | undefined;
  return {
    get: () => (made ??= make()),
    get made() {
      return made;
    },
  };
}
