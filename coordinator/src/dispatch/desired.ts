/** What is decided for one node: the compiled plan under a pair that rises strictly, encoded once. Pure. */
import { compile, formatProblem, type ImageLock, type Membership, type NodeProfile, upperBoundImpact } from "@drover/api";
import { type Facts, Impact, Plan, type Step } from "@drover/proto";
import type { DesiredNode } from "../records.ts";

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
  readonly nowMs: number;
}

export type DesiredMaking = { readonly ok: true; readonly desired: DesiredNode } | { readonly ok: false; readonly message: string };

export function makeDesired(input: DesiredInput): DesiredMaking {
  const { nodeId, nodeSet, rollout, profile, locks, facts, before, nowMs } = input;
  const membership = input.membership && named(input.membership, before);
  const compiled = compile(profile, locks, facts, membership);
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
    impactBound: impactBound(input, compiled.steps),
    steps: [...compiled.steps],
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
    },
  };
}

/** A member keeps its name in the cluster until it rejoins: a machine that calls itself otherwise today must not be reset by the next change of a sysctl. */
function named(membership: Membership, before: DesiredNode | undefined): Membership {
  const steps = before === undefined ? [] : Plan.decode(Buffer.from(before.plan, "base64")).steps;
  for (const { spec } of steps) {
    if (spec?.$case !== "kubeadm") continue;
    const { cluster, rejoin, nodeName } = spec.value;
    if (cluster === membership.cluster.metadata.name && rejoin === membership.rejoin && nodeName !== "") return { ...membership, nodeName };
  }
  return membership;
}

function impactBound({ before, isBeforeEnforced }: DesiredInput, steps: readonly Step[]): Impact {
  if (before === undefined) return upperBoundImpact(undefined, steps);
  const plan = Plan.decode(Buffer.from(before.plan, "base64"));
  const sinceBefore = upperBoundImpact(plan.steps, steps);
  if (isBeforeEnforced) return sinceBefore;
  // How far it came is not known: what it, or one before it, changed or was to put back may still have to be put back.
  return Math.max(sinceBefore, upperBoundImpact(undefined, steps), plan.impactBound) as Impact;
}
