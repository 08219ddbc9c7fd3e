/** How one node stands to a rollout, and what of it counts as in change or unavailable: by itself, without regard to any other node. Pure. */
import type { FleetDesired, FleetMaintenance, FleetNode, FleetObserved, RolloutInput } from "./model.ts";

export type Standing =
  | { readonly is: "updated"; readonly isSettled: boolean }
  | { readonly is: "soaking"; readonly isSettled: boolean; readonly untilMs: number; readonly message: string | undefined }
  /** It enforces the revision, and its gates have not passed yet. */
  | { readonly is: "gating"; readonly deadlineMs: number }
  /** isOurs: towards this revision. */
  | { readonly is: "changing"; readonly deadlineMs: number; readonly isOurs: boolean }
  | Failed
  | { readonly is: "behind" };

export interface Failed {
  readonly is: "failed";
  /** By this rollout's own plan, and not asked to be retried since. */
  readonly isOurs: boolean;
  /** The agent tries again on its own, or may. */
  readonly isRetried: boolean;
  readonly isRejoinDue: boolean;
  readonly deadlineMs: number;
  readonly reason: string;
  readonly message: string;
  readonly fingerprint: string | undefined;
}

type Judging = Pick<RolloutInput, "name" | "revision" | "retriedAtMs"> & {
  readonly strategy: Pick<RolloutInput["strategy"], "progressDeadlineMs">;
};

/** @param soakMs of the node's wave */
export function standingOf(node: FleetNode, rollout: Judging, soakMs: number, now: number): Standing {
  const { desired, observed, gate } = node;
  if (desired === undefined) return { is: "behind" };
  const isRevision = desired.revision === rollout.revision;
  const isRollout = isRevision && desired.rollout === rollout.name;
  // From before a restored backup: it enforces something that we have forgotten, and is not in change.
  if (observed?.outcome === "enforced" && isBeyond(observed, desired)) return { is: "behind" };
  const { progressDeadlineMs } = rollout.strategy;
  const deadlineMs = desired.decidedAtMs + progressDeadlineMs;
  const isOurs = isRollout && !(rollout.retriedAtMs !== undefined && desired.decidedAtMs < rollout.retriedAtMs);
  const isInterrupted = hasActed(node) && observed?.isInterrupted === true;
  const failed = (isRetried: boolean, reason: string, message: string, fingerprint?: string): Failed => ({
    is: "failed",
    isOurs: isOurs && !isInterrupted,
    isRetried,
    isRejoinDue: desired.isRejoinDue,
    deadlineMs,
    reason,
    message,
    fingerprint,
  });
  const outcome = hasActed(node) && observed !== undefined ? observed.outcome : "none";
  switch (outcome) {
    case "enforced": {
      const isGateOpen = desired.enforcedAtMs === undefined && gate.state !== "passed";
      // What an earlier plan broke is not broken for another reason.
      if (!isRevision)
        return isGateOpen && gate.state === "failed" && node.verdict === "unhealthy"
          ? failed(false, "GateFailed", gateText(node))
          : { is: "behind" };
      if (isGateOpen) return now < deadlineMs ? { is: "gating", deadlineMs } : failed(false, "GateFailed", gateText(node));
      return enforcedStanding(node, desired, isRollout ? soakMs : 0, progressDeadlineMs, now);
    }
    case "failed":
    case "rejected":
    case "refused": {
      const { reason, message, fingerprint } = observed!;
      return failed(outcome === "failed", reason, `${outcome}: ${reason}: ${message}`, fingerprint);
    }
    case "none":
    case "accepted":
    default: {
      if (!isRevision || now < deadlineMs) return { is: "changing", deadlineMs, isOurs: isRevision };
      const message = `did not enforce generation ${desired.generation} within ${seconds(progressDeadlineMs)}`;
      return failed(true, "ProgressDeadlineExceeded", `ProgressDeadlineExceeded: ${message}`);
    }
  }
}

/** A soak that ends while the gates fail goes on, for a progress deadline at most: a node must stay right to count as done. */
function enforcedStanding(node: FleetNode, desired: FleetDesired, soakMs: number, progressDeadlineMs: number, now: number): Standing {
  const isSettled = desired.enforcedAtMs !== undefined;
  const soakedAtMs = (desired.enforcedAtMs ?? now) + soakMs;
  const isRight = node.gate.state === "passed";
  if (soakMs > 0 && now < soakedAtMs + (isRight ? 0 : progressDeadlineMs)) {
    const untilMs = now < soakedAtMs ? soakedAtMs : soakedAtMs + progressDeadlineMs;
    return { is: "soaking", isSettled, untilMs, message: isRight ? undefined : gateText(node) };
  }
  return desired.isRejoinDue && isSettled ? { is: "behind" } : { is: "updated", isSettled };
}

function gateText({ gate }: FleetNode): string {
  return gate.state === "failed" ? `GateFailed: ${gate.message}` : `its gates have not passed: ${gate.message}`;
}

/** Whether the machine acted on what was decided last. */
export function hasActed({ desired, observed }: FleetNode): boolean {
  return desired !== undefined && observed?.planEpoch === desired.planEpoch && observed.generation === desired.generation;
}

type Told = Pick<FleetDesired, "planEpoch" | "generation">;

export function isBeyond(observed: Told, desired: Told): boolean {
  if (observed.planEpoch !== desired.planEpoch) return observed.planEpoch > desired.planEpoch;
  return observed.generation > desired.generation;
}

/** I3: whoever brought it there. */
export function isInChange(node: FleetNode, standing: Standing): boolean {
  return isPlanAtWork(standing) || isHeld(node.maintenance);
}

export function isUnavailable(node: FleetNode, standing: Standing): boolean {
  return node.verdict !== "healthy" || standing.is === "failed" || isInChange(node, standing);
}

/**
 * The agent tries a failed generation again on its own: it is in change until it is enforced or undone. So is a node that its plan is not sent to, as its agent
 * lacks what it takes: another agent may come at any moment, to many nodes at once.
 */
export function isPlanAtWork(standing: Standing): boolean {
  if (standing.is === "failed") return standing.isRetried;
  return standing.is === "changing" || standing.is === "soaking" || standing.is === "gating";
}

/** A rollout's drain that timed out has let the node back already, so that others may go first; what operators and repairs hold is theirs to end. */
function isHeld(maintenance: Pick<FleetMaintenance, "owner" | "phase"> | undefined): boolean {
  return maintenance !== undefined && (maintenance.owner !== "Rollout" || maintenance.phase !== "timedOut");
}

/** A node of another set, as budgets of topology keys see it: no evidence of gates, so what has not been proved by its progress deadline is unavailable and no more. */
export interface Neighbour {
  readonly verdict: FleetNode["verdict"] | undefined;
  readonly maintenance: Pick<FleetMaintenance, "owner" | "phase"> | undefined;
  readonly desired:
    | (Pick<FleetDesired, "planEpoch" | "generation" | "rollout" | "decidedAtMs"> & { readonly enforcedAtMs?: number | undefined })
    | undefined;
  readonly observed: Pick<FleetObserved, "planEpoch" | "generation" | "outcome"> | undefined;
}

/** @param rollout that its set has now */
export function neighbourStanding(
  node: Neighbour,
  rollout: { readonly name: string; readonly soakMs: number; readonly progressDeadlineMs: number } | undefined,
  now: number,
): "available" | "unavailable" | "inChange" {
  const { desired, observed, verdict } = node;
  if (isHeld(node.maintenance)) return "inChange";
  const otherwise = verdict === "healthy" ? "available" : "unavailable";
  if (desired === undefined) return otherwise;
  if (observed === undefined) return "inChange";
  const isCurrent = observed.planEpoch === desired.planEpoch && observed.generation === desired.generation;
  if (observed.outcome === "enforced" && !isCurrent && isBeyond(observed, desired)) return otherwise;
  if (isCurrent && (observed.outcome === "rejected" || observed.outcome === "refused")) return "unavailable";
  if (!isCurrent || observed.outcome !== "enforced") return "inChange";
  // What a superseded rollout did is proved and soaks no more.
  if (desired.rollout !== rollout?.name) return otherwise;
  if (desired.enforcedAtMs === undefined) return now < desired.decidedAtMs + rollout.progressDeadlineMs ? "inChange" : "unavailable";
  return now < desired.enforcedAtMs + rollout.soakMs ? "inChange" : otherwise;
}

export function seconds(ms: number): string {
  return `${Math.max(0, Math.ceil(ms / 1000))} s`;
}
