/** Events of a plan and its steps, as they are reported. Pure. */
import { type Change, Event, PlanOutcome, type Plan, StepOutcome } from "@drover/proto";
import type { Pair, PlanEnding } from "./journal-state.ts";
import type { StepRun } from "./run-step.ts";

/** What the changes of one event may take, in characters: an event has to fit into one batch. */
const MAX_CHANGES_LENGTH = 16_000;
const MAX_VALUE_LENGTH = 500;

export type EventBody = NonNullable<Event["body"]>;

export function eventOf(atMs: number, pair: Pair | undefined, body: EventBody): Event {
  return { atMs: Math.floor(atMs), generation: pair?.generation ?? 0, planEpoch: pair?.planEpoch ?? 0, body };
}

export function stepStarted(step: string, changes: readonly Change[]): EventBody {
  return { $case: "stepStarted", value: { step, changes: boundedChanges(changes) } };
}

export function stepResult(step: string, run: StepRun): EventBody {
  const { reason, message, isRetryable, durationMs, output, changes } = run;
  return {
    $case: "stepResult",
    value: {
      step,
      outcome: STEP_OUTCOME[run.outcome],
      reason,
      message,
      retryable: isRetryable,
      durationMs,
      outputTail: output.tail,
      outputDigest: output.digest,
      outputBytes: output.heldBytes,
      changes: boundedChanges(changes),
    },
  };
}

export function planFinished(plan: Plan, ending: PlanEnding): EventBody {
  return {
    $case: "planFinished",
    value: {
      revision: plan.revision,
      outcome: PLAN_OUTCOME[ending.outcome],
      reason: ending.outcome === "enforced" ? "" : ending.reason,
      message: ending.outcome === "enforced" ? "" : ending.message,
      failedStep: ending.outcome === "enforced" ? "" : ending.step,
    },
  };
}

export function drift(step: string, changes: readonly Change[], repaired: boolean): EventBody {
  return { $case: "drift", value: { step, changes: boundedChanges(changes), repaired } };
}

const STEP_OUTCOME = {
  unchanged: StepOutcome.STEP_OUTCOME_UNCHANGED,
  changed: StepOutcome.STEP_OUTCOME_CHANGED,
  failed: StepOutcome.STEP_OUTCOME_FAILED,
} as const;

const PLAN_OUTCOME = {
  enforced: PlanOutcome.PLAN_OUTCOME_ENFORCED,
  failed: PlanOutcome.PLAN_OUTCOME_FAILED,
  rejected: PlanOutcome.PLAN_OUTCOME_REJECTED,
} as const;

/** The first changes, long values cut; the rest is told by its count. */
export function boundedChanges(changes: readonly Change[]): Change[] {
  const kept: Change[] = [];
  let length = 0;
  for (const { path, from, to, impact, note } of changes) {
    const change = { path: cut(path), from: cut(from), to: cut(to), impact, note: cut(note) };
    length += 20 + change.path.length + change.from.length + change.to.length + change.note.length;
    if (length > MAX_CHANGES_LENGTH) {
      return [...kept, { path: `(${changes.length - kept.length} more)`, from: "", to: "", impact, note: "" }];
    }
    kept.push(change);
  }
  return kept;
}

function cut(text: string): string {
  return text.length > MAX_VALUE_LENGTH ? `${text.slice(0, MAX_VALUE_LENGTH - 3)}...` : text;
}
