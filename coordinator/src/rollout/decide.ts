/**
 * Which nodes of a NodeSet move now, which wait and why, and how the rollout stands. Pure: the same input gives the same decisions,
 * so whoever calls may crash, restart and ask again. What is written, sent or logged is the controller's.
 */

import type { Decision, Elsewhere, Fleet, FleetDesired, FleetNode, FleetObserved, Progress, RolloutInput, WaitReason } from "./model.ts";

type Standing =
  | { readonly is: "updated" }
  | { readonly is: "soaking"; readonly untilMs: number }
  | { readonly is: "changing"; readonly deadlineMs: number; readonly isOurs: boolean }
  | {
      readonly is: "failed";
      readonly isOurs: boolean;
      readonly isRetried: boolean;
      readonly isRejoinDue: boolean;
      readonly message: string;
    }
  | { readonly is: "behind" };

interface Placed {
  readonly node: FleetNode;
  readonly standing: Standing;
}

/**
 * The budget counts a node once when it is in change, soaking, failed, unhealthy or unknown. A node that is available moves only while that count
 * is below maxUnavailable; one that an earlier plan left in change or broken is counted already, and moves while fewer than maxUnavailable are in change.
 */
export function decide(rollout: RolloutInput, fleet: Fleet, _elsewhere: readonly Elsewhere[], now: number): readonly Decision[] {
  const { strategy } = rollout;
  const placed = fleet
    .map((node): Placed => ({ node, standing: standingOf(node, rollout, now) }))
    .sort((a, b) => (a.node.name < b.node.name ? -1 : a.node.name > b.node.name ? 1 : 0));
  const failed = placed.filter(({ standing }) => standing.is === "failed" && standing.isOurs);
  const isStopped = failed.length > strategy.failureBudget;

  const decisions: Decision[] = [];
  const changing = new Set(placed.filter(isInChange).map(({ node }) => node.nodeId));
  const unavailable = new Set(placed.filter(isUnavailable).map(({ node }) => node.nodeId));
  // Hundreds may wait for the same reason: it is worded once for each state of the budget, which only ever grows here.
  let spent = { count: -1, message: "" };
  const budgetSpent = (): string => {
    const count = unavailable.size;
    if (spent.count !== count)
      spent = { count, message: `${count} unavailable, ${rollout.strategy.maxUnavailable} allowed: ${named(placed, unavailable)}` };
    return spent.message;
  };
  let updated = 0;
  for (const each of placed) {
    const { node, standing } = each;
    const { nodeId, name } = node;
    const wait = (reason: WaitReason, message: string): void => void decisions.push({ type: "wait", nodeId, name, reason, message });
    if (standing.is === "updated" || standing.is === "soaking") updated += 1;
    if (standing.is === "soaking" || standing.is === "updated") {
      if (node.desired?.enforcedAtMs === undefined) decisions.push({ type: "settle", nodeId, name });
      if (standing.is === "soaking") wait("Soaking", `changed; must stay right for ${seconds(rollout.strategy.soakMs)}`);
    } else if (node.obstacle !== undefined) {
      wait(node.obstacle.reason, node.obstacle.message);
    } else if (standing.is === "failed" && standing.isOurs && (isStopped || !standing.isRejoinDue)) {
      wait("Failed", standing.message);
    } else if (standing.is === "changing" && standing.isOurs) {
      wait(
        "InChange",
        `was given generation ${node.desired?.generation} and has ${seconds(rollout.strategy.progressDeadlineMs)} to enforce it`,
      );
    } else if (node.disruption !== undefined) {
      wait("CellDisrupted", node.disruption);
    } else if (node.verdict === "unknown") {
      wait("NodeUnknown", `its health is unknown (${node.verdictReason}), and nothing is done to such a node`);
    } else if (isStopped) {
      wait("RolloutStopped", `${failed.length} failed, ${rollout.strategy.failureBudget} are borne: ${names(failed)}`);
    } else if (node.verdict === "unhealthy" && standing.is === "behind") {
      wait("NodeUnhealthy", `it is unhealthy (${node.verdictReason}) for another reason than our plan`);
    } else if (changing.has(nodeId) || mayJoin(nodeId, changing, unavailable, rollout.strategy.maxUnavailable)) {
      changing.add(nodeId);
      unavailable.add(nodeId);
      decisions.push({ type: "move", nodeId, name });
    } else {
      wait("BudgetSpent", budgetSpent());
    }
  }
  decisions.push({
    type: "progress",
    ...summary(rollout, placed, decisions, isStopped, failed),
    total: placed.length,
    updated,
    inChange: changing.size,
    failed: failed.length,
    waitingCounts: waitingCounts(decisions),
    waves: [],
    fingerprints: [],
  });
  const nextMs = nextMoment(placed, now);
  if (nextMs !== undefined) decisions.push({ type: "askAgain", atMs: nextMs });
  return decisions;
}

function mayJoin(nodeId: string, changing: ReadonlySet<string>, unavailable: ReadonlySet<string>, maxUnavailable: number): boolean {
  return unavailable.has(nodeId) ? changing.size < maxUnavailable : Math.max(unavailable.size, changing.size) < maxUnavailable;
}

function standingOf(node: FleetNode, rollout: RolloutInput, now: number): Standing {
  const { desired, observed } = node;
  if (desired === undefined) return { is: "behind" };
  const isRevision = desired.revision === rollout.revision;
  const isOurs = isRevision && desired.rollout === rollout.name;
  // From before a restored backup: it enforces something that we have forgotten, and is not in change.
  if (observed?.outcome === "enforced" && isBeyond(observed, desired)) return { is: "behind" };
  const deadlineMs = desired.decidedAtMs + rollout.strategy.progressDeadlineMs;
  const hasActed = observed !== undefined && observed.planEpoch === desired.planEpoch && observed.generation === desired.generation;
  const outcome = hasActed ? observed.outcome : "none";
  switch (outcome) {
    case "enforced": {
      if (!isRevision) return { is: "behind" };
      const untilMs = (desired.enforcedAtMs ?? now) + rollout.strategy.soakMs;
      if (isOurs && untilMs > now) return { is: "soaking", untilMs };
      return { is: desired.isRejoinDue ? "behind" : "updated" };
    }
    case "failed":
    case "rejected":
    case "refused":
      return {
        is: "failed",
        isOurs,
        isRetried: outcome === "failed",
        isRejoinDue: desired.isRejoinDue,
        message: `${outcome}: ${observed?.reason}: ${observed?.message}`,
      };
    case "none":
    case "accepted":
    default: {
      if (!isRevision || now < deadlineMs) return { is: "changing", deadlineMs, isOurs: isRevision };
      const message = `did not enforce generation ${desired.generation} within ${seconds(rollout.strategy.progressDeadlineMs)}`;
      return { is: "failed", isOurs, isRetried: true, isRejoinDue: desired.isRejoinDue, message: `ProgressDeadlineExceeded: ${message}` };
    }
  }
}

function isBeyond(observed: FleetObserved, desired: FleetDesired): boolean {
  if (observed.planEpoch !== desired.planEpoch) return observed.planEpoch > desired.planEpoch;
  return observed.generation > desired.generation;
}

/** The agent tries a failed generation again on its own: it is in change until it is enforced or undone. */
function isInChange({ node, standing }: Placed): boolean {
  if (standing.is === "changing") return mayBeAtWork(node);
  return standing.is === "soaking" || (standing.is === "failed" && standing.isRetried && mayBeAtWork(node));
}

/** A plan that is not sent changes nothing; the one before it may still be at work. */
function mayBeAtWork({ obstacle, observed }: FleetNode): boolean {
  return obstacle?.isUnsent !== true || observed?.outcome === "accepted" || observed?.outcome === "failed";
}

function isUnavailable(placed: Placed): boolean {
  return isInChange(placed) || placed.standing.is === "failed" || placed.node.verdict !== "healthy";
}

function summary(
  rollout: RolloutInput,
  placed: readonly Placed[],
  decisions: readonly Decision[],
  isStopped: boolean,
  failed: readonly Placed[],
): Pick<Progress, "phase" | "reason" | "message"> {
  if (placed.length === 0) return { phase: "Pending", reason: "NoNodes", message: "the set selects no node yet" };
  if (isStopped) {
    const message = `${failed.length} failed, ${rollout.strategy.failureBudget} are borne: ${names(failed)}; correct the profile and apply it, or apply again to retry`;
    return { phase: "Stopped", reason: "FailureBudgetExceeded", message };
  }
  if (placed.every(({ standing }) => standing.is === "updated")) {
    return { phase: "Complete", reason: "Complete", message: `all ${placed.length} nodes enforce the revision` };
  }
  const moving = decisions.filter((decision) => decision.type === "move").length;
  const isOpen = (decision: Decision): boolean =>
    decision.type === "move" || (decision.type === "wait" && (decision.reason === "InChange" || decision.reason === "Soaking"));
  if (moving > 0 || decisions.some(isOpen)) return { phase: "Progressing", reason: "NodesInChange", message: "nodes are in change" };
  const first = decisions.find((decision) => decision.type === "wait");
  return { phase: "Progressing", reason: "Waiting", message: first === undefined ? "waiting" : `${first.name}: ${first.message}` };
}

function waitingCounts(decisions: readonly Decision[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const decision of decisions) if (decision.type === "wait") counts[decision.reason] = (counts[decision.reason] ?? 0) + 1;
  return counts;
}

function nextMoment(placed: readonly Placed[], now: number): number | undefined {
  let next: number | undefined;
  for (const { standing } of placed) {
    const atMs =
      standing.is === "soaking" ? standing.untilMs : standing.is === "changing" && standing.isOurs ? standing.deadlineMs : undefined;
    if (atMs !== undefined && atMs > now && (next === undefined || atMs < next)) next = atMs;
  }
  return next;
}

function names(placed: readonly Placed[]): string {
  const some = placed.slice(0, 5).map(({ node }) => node.name);
  return placed.length > some.length ? `${some.join(", ")} and ${placed.length - some.length} more` : some.join(", ");
}

function named(placed: readonly Placed[], ids: ReadonlySet<string>): string {
  return names(placed.filter(({ node }) => ids.has(node.nodeId)));
}

function seconds(ms: number): string {
  return `${Math.max(0, Math.ceil(ms / 1000))} s`;
}
