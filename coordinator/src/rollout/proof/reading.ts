/**
 * What the record says of a node, read without decide(): the laws judge it by this. Deliberately the least that must count; where decide() counts more,
 * it is only more careful.
 */
import type { FleetNode, Labels, RolloutInput } from "../model.ts";

const RANKS = ["none", "live", "restart", "drain", "reboot"] as const;

export function impactRank(impact: FleetNode["impact"]): number {
  return RANKS.indexOf(impact);
}

/** The machine acted on what was decided last. */
export function hasActed({ desired, observed }: FleetNode): boolean {
  return desired !== undefined && observed?.planEpoch === desired.planEpoch && observed.generation === desired.generation;
}

export function isEnforced(node: FleetNode): boolean {
  return hasActed(node) && node.observed?.outcome === "enforced";
}

/** It enforces what was decided before an old backup was restored. */
function isBeyond({ desired, observed }: FleetNode): boolean {
  if (desired === undefined || observed === undefined || observed.outcome !== "enforced") return false;
  return observed.planEpoch === desired.planEpoch ? observed.generation > desired.generation : observed.planEpoch > desired.planEpoch;
}

/** What was decided for it last was begun or may begin at any moment, and has not come to its end. */
export function isAtWork(node: FleetNode): boolean {
  const { desired, observed } = node;
  if (desired === undefined || isBeyond(node)) return false;
  return !(hasActed(node) && (observed?.outcome === "enforced" || observed?.outcome === "rejected" || observed?.outcome === "refused"));
}

export function isOurs({ desired }: FleetNode, input: RolloutInput): boolean {
  return desired?.revision === input.revision && desired.rollout === input.name;
}

/** Enforced by this rollout, with too little time since. The shorter soak, where the canary has its own. What was not proved by its deadline has failed. */
export function isSoaking(node: FleetNode, { strategy, promotedWave, ...input }: RolloutInput, now: number): boolean {
  if (promotedWave > 0 || !isEnforced(node) || !isOurs(node, { strategy, promotedWave, ...input })) return false;
  if (hasGateOpen(node) && now >= node.desired!.decidedAtMs + strategy.progressDeadlineMs) return false;
  const soakMs = Math.min(strategy.soakMs, strategy.canary?.soakMs ?? strategy.soakMs);
  return (node.desired?.enforcedAtMs ?? now) + soakMs > now;
}

/** I3: in change, whoever brought it there. */
export function isInChange(node: FleetNode, input: RolloutInput, now: number): boolean {
  return isAtWork(node) || isSoaking(node, input, now) || isTakenOut(node);
}

/** A rollout's drain that timed out has let the node back. */
function isTakenOut({ maintenance }: FleetNode): boolean {
  return maintenance !== undefined && (maintenance.owner !== "Rollout" || maintenance.phase !== "timedOut");
}

export function hasFailed(node: FleetNode): boolean {
  const outcome = node.observed?.outcome;
  return hasActed(node) && (outcome === "failed" || outcome === "rejected" || outcome === "refused");
}

/** It enforces what it was given, and that has not shown to be right: if it is broken, then by our plan. */
export function hasGateOpen(node: FleetNode): boolean {
  return isEnforced(node) && node.desired?.enforcedAtMs === undefined && node.gate.state !== "passed";
}

export function isUnavailable(node: FleetNode, input: RolloutInput, now: number): boolean {
  const isUnproven = hasGateOpen(node) && node.desired?.revision === input.revision;
  return node.verdict !== "healthy" || hasFailed(node) || isUnproven || isInChange(node, input, now);
}

/** Canary's preferred first, then by the strategy's order, then by name. */
export function ranked(fleet: readonly FleetNode[], { strategy }: RolloutInput): readonly FleetNode[] {
  const { canary, order } = strategy;
  const place = (labels: Labels): number => {
    if (order === undefined) return 0;
    const index = order.values.indexOf(labels[order.key] ?? "");
    return index < 0 ? order.values.length : index;
  };
  const key = ({ labels }: FleetNode): readonly [number, number] => [canary?.prefers(labels) === true ? 0 : 1, place(labels)];
  return [...fleet].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return x[0] - y[0] || x[1] - y[1] || (a.name < b.name ? -1 : 1);
  });
}
