/** Events of a plan and its steps, as they are reported. Pure. */
import { type Change, Event, PlanOutcome, type Plan, StepOutcome } from "@drover/proto";
import type { Pair, PlanEnding } from "./journal-state.ts";
import type { StepRun } from "./run-step.ts";

/** So many changes of one step are reported; a plan with more of them is told by its first ones. */
const MAX_CHANGES = 100;

export type EventBody = NonNullable<Event["body"]>;

export function eventOf(atMs: number, pair: Pair | undefined, body: EventBody): Event {
  return { atMs, generation: pair?.generation ?? 0, planEpoch: pair?.planEpoch ?? 0, body };
}

export function stepStarted(step: string, changes: readonly Change[]): EventBody {
  return { $case: "stepStarted", value: { step, changes: changes.slice(0, MAX_CHANGES) } };
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
      changes: changes.slice(0, MAX_CHANGES),
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
      failedStep: ending.outcome === "failed" ? ending.step : "",
    },
  };
}

export function drift(step: string, changes: readonly Change[], repaired: boolean): EventBody {
  return { $case: "drift", value: { step, changes: changes.slice(0, MAX_CHANGES), repaired } };
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
