/** How a node stands to what a rollout decided for it, as far as a repair has to know. Pure. */
import { isOlder } from "../dispatch/planned-steps.ts";
import type { ObservedNode } from "../fleet/fleet.ts";
import type { DesiredNode } from "../records.ts";
import type { ResolvedStrategy } from "../rollout/model.ts";

export interface RolloutStanding {
  /** What was decided may be at work on the node, or soaks. */
  readonly isInChange: boolean;
  readonly isFailed: boolean;
  /** Why it is left to the rollout: it is in change and in time. undefined: a repair may have it. */
  readonly hold: string | undefined;
  /** Of what was decided last. */
  readonly outcome: ObservedNode["outcome"];
}

const CALM = { isInChange: false, isFailed: false, hold: undefined } as const;

export function rolloutStanding(
  desired: DesiredNode | undefined,
  observed: ObservedNode | undefined,
  { progressDeadlineMs, soakMs }: Pick<ResolvedStrategy, "progressDeadlineMs" | "soakMs">,
  now: number,
): RolloutStanding {
  const seen = { planEpoch: observed?.planEpoch ?? 0, generation: observed?.observedGeneration ?? 0 };
  if (desired === undefined) return { ...CALM, outcome: "none" };
  // From before a restored backup: it enforces something that we have forgotten, and is not in change.
  if (isOlder(desired, seen)) return { ...CALM, outcome: observed?.outcome ?? "none" };
  const outcome = isOlder(seen, desired) ? "none" : (observed?.outcome ?? "none");
  const { rollout, generation } = desired;
  const isInTime = now < desired.decidedAtMs + progressDeadlineMs;
  switch (outcome) {
    case "none":
    case "accepted":
      return {
        isInChange: true,
        isFailed: !isInTime,
        hold: isInTime ? `rollout ${rollout} gave it generation ${generation}` : undefined,
        outcome,
      };
    case "failed":
      // The agent tries it again on its own.
      return { isInChange: true, isFailed: true, hold: undefined, outcome };
    case "rejected":
    case "refused":
      return { isInChange: false, isFailed: true, hold: undefined, outcome };
    case "enforced": {
      const isGated = desired.enforcedAtMs === undefined && isInTime;
      const isSoaking = desired.enforcedAtMs !== undefined && now < desired.enforcedAtMs + soakMs;
      if (!isGated && !isSoaking) return { ...CALM, outcome };
      return { isInChange: true, isFailed: false, hold: `generation ${generation} of rollout ${rollout} has not soaked`, outcome };
    }
  }
}
