/** A strategy as people write it, resolved against the size of the set: what decide() counts with. Pure. */
import {
  contentDigest,
  defaultDrain,
  defaultGates,
  matchesSelector,
  parseDurationMs,
  resolveMaxUnavailable,
  type Rollout,
  type RolloutStrategy,
} from "@drover/api";
import type { ResolvedStrategy, RolloutInput } from "./model.ts";

/** As resolved last: each look asks, and a strategy is never changed, but replaced. */
const resolved = new WeakMap<RolloutStrategy, { readonly nodeCount: number; readonly strategy: ResolvedStrategy }>();

/** @param nodeCount of the whole set */
export function resolveStrategy(strategy: RolloutStrategy, nodeCount: number): ResolvedStrategy {
  const known = resolved.get(strategy);
  if (known?.nodeCount === nodeCount) return known.strategy;
  const made = resolvedAnew(strategy, nodeCount);
  resolved.set(strategy, { nodeCount, strategy: made });
  return made;
}

function resolvedAnew(strategy: RolloutStrategy, nodeCount: number): ResolvedStrategy {
  const { canary, maxUnavailable } = strategy;
  const drain = strategy.drain ?? defaultDrain;
  const soakMs = parseDurationMs(strategy.soak);
  const prefers = canary?.selector;
  return {
    digest: contentDigest(strategy),
    maxUnavailable: resolveMaxUnavailable(maxUnavailable, nodeCount),
    isAll: maxUnavailable === "100%",
    soakMs,
    progressDeadlineMs: parseDurationMs(strategy.progressDeadline),
    failureBudget: strategy.failureBudget,
    canary: canary && {
      nodes: resolveMaxUnavailable(canary.nodes, nodeCount),
      soakMs: canary.soak === undefined ? soakMs : parseDurationMs(canary.soak),
      prefers: prefers === undefined ? () => false : (labels) => matchesSelector(prefers, labels),
    },
    waves: risingBelow(
      (strategy.waves ?? []).map((reach) => resolveMaxUnavailable(reach, nodeCount)),
      nodeCount,
    ),
    budgets: (strategy.budgets ?? []).map((budget) => ({
      topologyKey: budget.topologyKey,
      atOnce: (nodesWithValue) => resolveMaxUnavailable(budget.maxUnavailable, nodesWithValue),
    })),
    exclusive: strategy.exclusive,
    order: strategy.order,
    approvals: new Set(strategy.approvals),
    drain: { from: drain.from, deadlineMs: parseDurationMs(drain.deadline), revisitAfterMs: parseDurationMs(drain.revisitAfter) },
    hasWebhook: (strategy.gates ?? defaultGates).webhook !== undefined,
  };
}

/** In a small set several percentages are the same node, and the last may be the whole set: those make no wave of their own. */
function risingBelow(reaches: readonly number[], nodeCount: number): readonly number[] {
  let before = 0;
  return reaches.filter((reach) => {
    const isWave = reach > before && reach < nodeCount;
    if (isWave) before = reach;
    return isWave;
  });
}

/** What an operator has said of the rollout since it began. */
export function spokenOf({
  spec,
}: Rollout): Pick<RolloutInput, "isPaused" | "isAborted" | "promotedWave" | "approvals" | "confirmedNodes" | "retriedAtMs"> {
  return {
    isPaused: spec.paused === true,
    isAborted: spec.aborted === true,
    promotedWave: spec.promotedWave ?? 0,
    approvals: new Map((spec.approvals ?? []).map(({ wave, digest }) => [wave, digest])),
    confirmedNodes: spec.confirmedNodes,
    retriedAtMs: spec.retriedAt === undefined ? undefined : Date.parse(spec.retriedAt),
  };
}
