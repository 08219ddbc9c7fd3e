/**
 * What decide() judges and what it says: the contract between the pure core and whoever gathers and carries out. Times are Unix milliseconds of
 * the coordinator's clock unless the name says otherwise; counts are nodes, already resolved against the size of the set.
 */
import type { ImpactName } from "@drover/api";

export interface RolloutInput {
  readonly name: string;
  readonly revision: string;
  readonly strategy: ResolvedStrategy;
  readonly isPaused: boolean;
  readonly isAborted: boolean;
  /** Waves up to this one, counted from 1, are not soaked; 0: none. Never stands in for an approval. */
  readonly promotedWave: number;
  /** Approved digest by wave, counted from 1. An approval holds while approvalDigest() of the wave is still that. */
  readonly approvals: ReadonlyMap<number, string>;
  /** The count that an operator typed; it must equal the set's where maxUnavailable is all of them. */
  readonly confirmedNodes: number | undefined;
  /** Failures of generations decided before this are tried again. */
  readonly retriedAtMs: number | undefined;
  /** Whether nodes may begin to change now, by windows and freezes. What is in change goes on. */
  readonly opening:
    | { readonly isOpen: true; readonly closesAtMs: number | undefined }
    | {
        readonly isOpen: false;
        readonly reason: "OutsideWindow" | "Frozen";
        readonly message: string;
        readonly opensAtMs: number | undefined;
      };
  /** Why this set has to wait for another one ("NodeSet/db is not complete"); undefined: it need not. */
  readonly waitsFor: string | undefined;
  /** What the webhook said of each wave that was asked about. A wave that has none with a webhook in the strategy is asked by decision askGate. */
  readonly waveGates: ReadonlyMap<number, { readonly isPassed: boolean; readonly message: string; readonly atMs: number }>;
  /** Fingerprints that nodes of the set showed before this rollout began. */
  readonly knownFingerprints: ReadonlySet<string>;
}

export interface ResolvedStrategy {
  /** contentDigest of the strategy as the rollout holds it: approvals are bound to it, and what was worked out for one strategy is used again for the same. */
  readonly digest: string;
  readonly maxUnavailable: number;
  /** maxUnavailable was given as 100%, or as at least the set's size by percentage. */
  readonly isAll: boolean;
  readonly soakMs: number;
  readonly progressDeadlineMs: number;
  readonly failureBudget: number;
  readonly canary: { readonly nodes: number; readonly soakMs: number; readonly prefers: (labels: Labels) => boolean } | undefined;
  /** Cumulative counts, rising, below the set's size; the rest is one more wave. Without the canary. */
  readonly waves: readonly number[];
  /** atOnce: of so many nodes with one value (in this set), how many may be unavailable. */
  readonly budgets: readonly { readonly topologyKey: string; readonly atOnce: (nodesWithValue: number) => number }[];
  readonly exclusive: string | undefined;
  readonly order: { readonly key: string; readonly values: readonly string[] } | undefined;
  /** Waves, counted from 1. */
  readonly approvals: ReadonlySet<number>;
  readonly drain: { readonly from: ImpactName | "never"; readonly deadlineMs: number; readonly revisitAfterMs: number };
  readonly hasWebhook: boolean;
}

export type Labels = Readonly<Record<string, string>>;

/** Nodes of the set, each as decided and as observed. A node that did not change since the last call is the same object: decide() remembers by identity. */
export type Fleet = readonly FleetNode[];

export interface FleetNode {
  readonly nodeId: string;
  readonly name: string;
  readonly labels: Labels;
  readonly verdict: "healthy" | "unhealthy" | "unknown";
  readonly verdictReason: string;
  /** What the store holds for it; undefined: nothing was ever decided. */
  readonly desired: FleetDesired | undefined;
  /** Undefined: it never reported on a plan. */
  readonly observed: FleetObserved | undefined;
  /** Why it cannot be moved to the revision, or what was decided is not sent to it; undefined: nothing known against it. */
  readonly obstacle: { readonly reason: string; readonly message: string } | undefined;
  /** Why nothing may be moved there now; what is in change stays so, and stays counted; undefined: calm. */
  readonly disruption: string | undefined;
  /** The most that moving it to the revision can disturb. */
  readonly impact: ImpactName;
  /** Open drift of what it enforces, above what an agent repairs by itself: it asks for a disruption slot. undefined: none. */
  readonly drift: { readonly impact: ImpactName; readonly sinceMs: number } | undefined;
  /** Whether it has a Node in its cluster that can be drained. */
  readonly isDrainable: boolean;
  /** undefined: none is on record. */
  readonly maintenance: FleetMaintenance | undefined;
  /** Of the change that was enforced last, by evidence after it only (conditions, probes, Kubernetes Ready). */
  readonly gate: { readonly state: "passed" | "pending" | "failed"; readonly message: string };
}

export interface FleetDesired {
  readonly planEpoch: number;
  readonly generation: number;
  readonly revision: string;
  readonly rollout: string;
  readonly decidedAtMs: number;
  /** When this generation was first seen enforced with its gates passed; soak counts from here. */
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
  /** Step and normalised error (fingerprintOf); undefined: it did not fail. */
  readonly fingerprint: string | undefined;
  /** What it failed with says nothing of the change (the machine lost its power in the middle): a new generation may try it once more. */
  readonly isInterrupted?: boolean;
}

export interface FleetMaintenance {
  readonly owner: "Rollout" | "Repair" | "Operator";
  readonly ownerName: string;
  readonly wanted: "cordon" | "drain" | "release";
  readonly phase: "waiting" | "cordoned" | "draining" | "drained" | "timedOut";
  readonly message: string;
  readonly revisitAtMs: number | undefined;
}

/** A node of another set of the same cluster that is in change or unavailable: budgets per topology key count it too, and exclusive when it is in change. */
export interface Elsewhere {
  readonly name: string;
  readonly labels: Labels;
  /** Not only unavailable: as of the set's own, one that broke keeps no other broken one from being mended, or two sets would wait for each other for good. */
  readonly isInChange: boolean;
}

export type Decision =
  /** Give the node a new generation of the rollout's revision; for drift the same revision once more. */
  | { readonly type: "move"; readonly nodeId: string; readonly name: string }
  /** The generation is seen enforced with its gates passed for the first time, once for each generation: remember since when. */
  | { readonly type: "settle"; readonly nodeId: string; readonly name: string }
  /** Workloads leave it before it is moved. */
  | { readonly type: "drain"; readonly nodeId: string; readonly name: string; readonly deadlineAtMs: number }
  /** Its maintenance is over, however that ended. */
  | { readonly type: "release"; readonly nodeId: string; readonly name: string }
  | { readonly type: "wait"; readonly nodeId: string; readonly name: string; readonly reason: WaitReason; readonly message: string }
  /** The wave is done: the webhook is to be asked whether the next may begin. */
  | { readonly type: "askGate"; readonly wave: number }
  | Progress
  /** Nothing changes before this by itself; ask again then. */
  | { readonly type: "askAgain"; readonly atMs: number };

export interface Progress {
  readonly type: "progress";
  readonly phase: "Pending" | "Progressing" | "Paused" | "Stopped" | "Aborted" | "Complete";
  readonly reason: string;
  readonly message: string;
  readonly total: number;
  readonly updated: number;
  readonly inChange: number;
  readonly failed: number;
  /** All that wait, by reason; of decision wait there are 200 at most. */
  readonly waitingCounts: Readonly<Record<string, number>>;
  readonly waves: readonly {
    readonly name: string;
    readonly nodes: number;
    readonly updated: number;
    readonly phase: "Pending" | "AwaitingApproval" | "Progressing" | "Soaking" | "Gated" | "Complete";
    /** Set where the strategy asks for its approval. */
    readonly approvalDigest: string | undefined;
  }[];
  readonly fingerprints: readonly { readonly fingerprint: string; readonly isNew: boolean; readonly nodes: readonly string[] }[];
}

/** Why a node does not move; one of these, or the obstacle's own. */
export type WaitReason =
  | "InChange"
  | "Draining"
  | "DrainTimedOut"
  | "GatePending"
  | "Soaking"
  | "Failed"
  | "BudgetSpent"
  | "TopologyBudgetSpent"
  | "Exclusive"
  | "DriftReturns"
  | "LaterWave"
  | "AwaitingApproval"
  | "CountNotConfirmed"
  | "ImpactNotLive"
  | "OutsideWindow"
  | "Frozen"
  | "WaitsForNodeSet"
  | "Paused"
  | "Aborted"
  | "CellDisrupted"
  | "NodeUnhealthy"
  | "NodeUnknown"
  | "UnderMaintenance"
  | "UnderRepair"
  | "RolloutStopped"
  | (string & {});
