/** What a decided plan says of a cluster, and what the node has reported of that. Pure. */
import { KubeadmSpec, Plan } from "@drover/proto";
import { isOlder } from "../dispatch/planned-steps.ts";
import type { ObservedNode } from "../fleet/fleet.ts";
import type { BootstrapTokenRecord, DesiredNode } from "../records.ts";

export interface PlannedJoin {
  readonly stepId: string;
  readonly spec: KubeadmSpec;
}

const cache = new WeakMap<DesiredNode, PlannedJoin | undefined>();

/** undefined: the plan puts the node in no cluster. */
export function plannedJoin(desired: DesiredNode): PlannedJoin | undefined {
  if (!cache.has(desired)) cache.set(desired, findJoin(desired));
  return cache.get(desired);
}

function findJoin(desired: DesiredNode): PlannedJoin | undefined {
  for (const { id, spec } of Plan.decode(Buffer.from(desired.plan, "base64")).steps) {
    if (spec?.$case === "kubeadm" && spec.value.cluster !== "") return { stepId: id, spec: spec.value };
  }
  return undefined;
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
