/**
 * Which nodes of a NodeSet move now, which wait and why, and how the rollout stands. Pure: the same input gives the same decisions,
 * so whoever calls may crash, restart and ask again. What is written, sent or logged is the controller's.
 */

export interface RolloutInput {
  readonly name: string;
  readonly revision: string;
  /** In nodes, already resolved against the size of the set. */
  readonly maxUnavailable: number;
  readonly soakMs: number;
  readonly progressDeadlineMs: number;
  readonly failureBudget: number;
}

/** Nodes of the set, each as decided and as observed. */
export type Fleet = readonly FleetNode[];

export interface FleetNode {
  readonly nodeId: string;
  readonly name: string;
  readonly verdict: "healthy" | "unhealthy" | "unknown";
  readonly verdictReason: string;
  /** What the store holds for it; undefined: nothing was ever decided. */
  readonly desired: FleetDesired | undefined;
  /** Undefined: it never reported on a plan. */
  readonly observed: FleetObserved | undefined;
  /** Why no plan can be sent to it, for example step kinds its agent lacks; undefined: nothing known against it. */
  readonly obstacle:
    | {
        readonly reason: string;
        readonly message: string;
        /** Not even what was decided last is sent to it. */
        readonly isUnsent: boolean;
      }
    | undefined;
  /** Why nothing may be moved there now: many of its neighbours fell silent together. What is in change stays so, and stays counted; undefined: calm. */
  readonly disruption: string | undefined;
}

export interface FleetDesired {
  readonly planEpoch: number;
  readonly generation: number;
  readonly revision: string;
  readonly rollout: string;
  /** Unix milliseconds, coordinator's clock. */
  readonly decidedAtMs: number;
  /** When this generation was first seen enforced; soak counts from here. */
  readonly enforcedAtMs: number | undefined;
  /** It was asked since that the node be reset and join its cluster again. A node in change or soaking comes to its end first. */
  readonly isRejoinDue: boolean;
}

export interface FleetObserved {
  readonly planEpoch: number;
  readonly generation: number;
  readonly outcome: "none" | "accepted" | "enforced" | "failed" | "rejected" | "refused";
  readonly reason: string;
  readonly message: string;
}

export type Decision =
  /** Give the node a new generation of the rollout's revision. */
  | { readonly type: "move"; readonly nodeId: string; readonly name: string }
  /** The generation is enforced for the first time: remember since when. */
  | { readonly type: "settle"; readonly nodeId: string; readonly name: string }
  | { readonly type: "wait"; readonly nodeId: string; readonly name: string; readonly reason: WaitReason; readonly message: string }
  | {
      readonly type: "progress";
      readonly phase: "Pending" | "Progressing" | "Stopped" | "Complete";
      readonly reason: string;
      readonly message: string;
      readonly total: number;
      readonly updated: number;
      readonly inChange: number;
      readonly failed: number;
    }
  /** Nothing changes before this by itself; ask again then. Unix milliseconds. */
  | { readonly type: "askAgain"; readonly atMs: number };

/** Why a node does not move; one of these, or the obstacle's own. */
export type WaitReason =
  | "InChange"
  | "Soaking"
  | "Failed"
  | "BudgetSpent"
  | "CellDisrupted"
  | "NodeUnhealthy"
  | "NodeUnknown"
  | "RolloutStopped"
  | (string & {});

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
export function decide(rollout: RolloutInput, fleet: Fleet, now: number): readonly Decision[] {
  const placed = fleet
    .map((node): Placed => ({ node, standing: standingOf(node, rollout, now) }))
    .sort((a, b) => (a.node.name < b.node.name ? -1 : a.node.name > b.node.name ? 1 : 0));
  const failed = placed.filter(({ standing }) => standing.is === "failed" && standing.isOurs);
  const isStopped = failed.length > rollout.failureBudget;

  const decisions: Decision[] = [];
  const changing = new Set(placed.filter(isInChange).map(({ node }) => node.nodeId));
  const unavailable = new Set(placed.filter(isUnavailable).map(({ node }) => node.nodeId));
  // Hundreds may wait for the same reason: it is worded once for each state of the budget, which only ever grows here.
  let spent = { count: -1, message: "" };
  const budgetSpent = (): string => {
    const count = unavailable.size;
    if (spent.count !== count)
      spent = { count, message: `${count} unavailable, ${rollout.maxUnavailable} allowed: ${named(placed, unavailable)}` };
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
      if (standing.is === "soaking") wait("Soaking", `changed; must stay right for ${seconds(rollout.soakMs)}`);
    } else if (node.obstacle !== undefined) {
      wait(node.obstacle.reason, node.obstacle.message);
    } else if (standing.is === "failed" && standing.isOurs && (isStopped || !standing.isRejoinDue)) {
      wait("Failed", standing.message);
    } else if (standing.is === "changing" && standing.isOurs) {
      wait("InChange", `was given generation ${node.desired?.generation} and has ${seconds(rollout.progressDeadlineMs)} to enforce it`);
    } else if (node.disruption !== undefined) {
      wait("CellDisrupted", node.disruption);
    } else if (node.verdict === "unknown") {
      wait("NodeUnknown", `its health is unknown (${node.verdictReason}), and nothing is done to such a node`);
    } else if (isStopped) {
      wait("RolloutStopped", `${failed.length} failed, ${rollout.failureBudget} are borne: ${names(failed)}`);
    } else if (node.verdict === "unhealthy" && standing.is === "behind") {
      wait("NodeUnhealthy", `it is unhealthy (${node.verdictReason}) for another reason than our plan`);
    } else if (changing.has(nodeId) || mayJoin(nodeId, changing, unavailable, rollout.maxUnavailable)) {
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
  const deadlineMs = desired.decidedAtMs + rollout.progressDeadlineMs;
  const hasActed = observed !== undefined && observed.planEpoch === desired.planEpoch && observed.generation === desired.generation;
  const outcome = hasActed ? observed.outcome : "none";
  switch (outcome) {
    case "enforced": {
      if (!isRevision) return { is: "behind" };
      const untilMs = (desired.enforcedAtMs ?? now) + rollout.soakMs;
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
      const message = `did not enforce generation ${desired.generation} within ${seconds(rollout.progressDeadlineMs)}`;
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
): { phase: "Pending" | "Progressing" | "Stopped" | "Complete"; reason: string; message: string } {
  if (placed.length === 0) return { phase: "Pending", reason: "NoNodes", message: "the set selects no node yet" };
  if (isStopped) {
    const message = `${failed.length} failed, ${rollout.failureBudget} are borne: ${names(failed)}; correct the profile and apply it, or apply again to retry`;
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
