/** What is decided for one node: the compiled plan under a pair that rises strictly, encoded once. Pure. */
import { DEFAULT_CONFIRM_DEADLINE, formatProblem, type ImageLock, type Membership, type NodeProfile, parseDurationMs } from "@drover/api";
import { type Facts, type Impact, Plan, type Step } from "@drover/proto";
import type { DesiredNode } from "../records.ts";
import { compileOnce } from "./compile-once.ts";
import { needsConfirmation } from "./confirmation.ts";
import { moveImpact } from "./move-impact.ts";
import { toldPlan } from "./told-plan.ts";

/** A plan that reaches its node later than this is decided anew. */
const ACCEPTABLE_FOR_MS = 24 * 3_600_000;

export interface DesiredInput {
  readonly nodeId: string;
  readonly nodeSet: string;
  readonly rollout: string;
  readonly profile: NodeProfile;
  readonly locks: readonly ImageLock[];
  /** In the cluster of its set; undefined: in none. */
  readonly membership: Membership | undefined;
  readonly facts: Facts | undefined;
  readonly planEpoch: number;
  readonly before: DesiredNode | undefined;
  /** Whether the node enforces what was decided before; else nobody knows what is on it. */
  readonly isBeforeEnforced: boolean;
  /** The highest impact of its open drift, which the same plan mends; left out: none. */
  readonly drift?: Impact;
  /** Whether it says that it is in its cluster; left out: it does not. */
  readonly isMember?: boolean;
  /** What can cut it off is undone unless it is confirmed within this; left out: as where a strategy says nothing. */
  readonly confirmDeadlineMs?: number;
  /** The machine booted before the plan of before was confirmed, and it is tried once more; left out: no. */
  readonly wasInterrupted?: boolean;
  readonly nowMs: number;
}

export type DesiredMaking = { readonly ok: true; readonly desired: DesiredNode } | { readonly ok: false; readonly message: string };

export function makeDesired(input: DesiredInput): DesiredMaking {
  const { nodeId, nodeSet, rollout, profile, locks, facts, before, nowMs } = input;
  const membership = input.membership && namedAsBefore(input.membership, before);
  const compiled = compileOnce(profile, locks, facts, membership);
  if (!compiled.ok) return { ok: false, message: compiled.problems.map(formatProblem).join("; ") };
  const generation = (before?.generation ?? 0) + 1;
  const planEpoch = Math.max(input.planEpoch, before?.planEpoch ?? 0);
  const plan = Plan.create({
    nodeId,
    planEpoch,
    generation,
    revision: compiled.revision,
    issuedAtMs: nowMs,
    expiresAtMs: nowMs + ACCEPTABLE_FOR_MS,
    impactBound: moveImpact({ before, isBeforeEnforced: input.isBeforeEnforced, drift: input.drift ?? 0 }, compiled.steps).bound,
    confirmDeadlineMs: confirmDeadlineMs(input, compiled.steps),
    steps: [...compiled.steps],
    probes: [...compiled.probes],
    nodeSet,
    rollout,
  });
  return {
    ok: true,
    desired: {
      nodeId,
      planEpoch,
      generation,
      revision: compiled.revision,
      nodeSet,
      rollout,
      plan: Buffer.from(Plan.encode(plan).finish()).toString("base64"),
      decidedAtMs: nowMs,
      ...(membership === undefined ? {} : { rejoin: membership.rejoin }),
      ...(input.wasInterrupted === true ? { interruptions: (before?.interruptions ?? 0) + 1 } : {}),
    },
  };
}

/** A member keeps its name in the cluster until it rejoins: a machine that calls itself otherwise today must not be reset by the next change of a sysctl. */
export function namedAsBefore(membership: Membership, before: DesiredNode | undefined): Membership {
  const steps = before === undefined ? [] : toldPlan(before).steps;
  for (const { spec } of steps) {
    if (spec?.$case !== "kubeadm") continue;
    const { cluster, rejoin, nodeName } = spec.value;
    if (cluster === membership.cluster.metadata.name && rejoin === membership.rejoin && nodeName !== "") return { ...membership, nodeName };
  }
  return membership;
}

function confirmDeadlineMs({ before, isBeforeEnforced, isMember, confirmDeadlineMs }: DesiredInput, steps: readonly Step[]): number {
  const told = before === undefined ? [] : toldPlan(before).steps;
  const isNeeded = needsConfirmation(isBeforeEnforced ? told : undefined, isBeforeEnforced ? [] : told, steps, isMember === true);
  return isNeeded ? (confirmDeadlineMs ?? parseDurationMs(DEFAULT_CONFIRM_DEADLINE)) : 0;
}
