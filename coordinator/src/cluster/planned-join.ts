/** What a decided plan says of a cluster, and what the node has reported of that. Pure. */
import { isOlder, planned, type PlannedJoin } from "../dispatch/planned-steps.ts";
import type { ObservedNode } from "../fleet/fleet.ts";
import type { BootstrapTokenRecord, DesiredNode } from "../records.ts";

/** undefined: the plan puts the node in no cluster. */
export function plannedJoin(desired: DesiredNode): PlannedJoin | undefined {
  return planned(desired).join;
}

const ENDED: ReadonlySet<string> = new Set(["enforced", "failed", "rejected", "refused"]);

interface Pair {
  readonly planEpoch: number;
  readonly generation: number;
}

/**
 * What the node has reported of joining by this plan: what ends a join, as texts to be compared with later ones. That it has joined is no such
 * thing: an agent that starts in the middle tells again what it last knew.
 */
export function joinReport(
  observed: ObservedNode | undefined,
  { planEpoch, generation }: Pair,
  stepId: string | undefined,
): readonly string[] {
  if (observed?.planEpoch !== planEpoch || observed.observedGeneration !== generation) return [];
  const step = observed.steps.find(({ step }) => step === stepId);
  return [
    ...(step === undefined || step.outcome === "running" ? [] : [`step ${step.outcome} ${step.atUnixMs}`]),
    // Of a plan that ended nothing is left to come.
    ...(ENDED.has(observed.outcome) ? [observed.outcome] : []),
  ];
}

/** Condition that a node has joined its cluster. */
export const JOINED = "Joined";

/** Whether the node has said how the join ended that this token was for. */
export function isReported(record: BootstrapTokenRecord, observed: ObservedNode | undefined, stepId: string | undefined): boolean {
  if (observed === undefined) return false;
  const seen = { planEpoch: observed.planEpoch, generation: observed.observedGeneration };
  if (isOlder(record, seen)) return true;
  return joinReport(observed, record, stepId).some((part) => !record.reportedBefore.includes(part));
}
