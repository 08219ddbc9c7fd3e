/**
 * What decideRepairs() judges and what it says. Times are Unix milliseconds of the coordinator's clock; counts are nodes, already resolved against
 * the size of the set.
 */
import type { Repair, Rung } from "@drover/api";
import type { FleetMaintenance, Labels, ResolvedStrategy, RolloutInput } from "../rollout/model.ts";

export interface RepairsInput {
  /** All that have not ended, and of each node the one that ended last. */
  readonly repairs: readonly Repair[];
  /** Every node of each set that a repair or a remediation is about, and of the sets in the same clusters; other nodes as far as a repair names them. */
  readonly nodes: readonly RepairNode[];
  readonly sets: ReadonlyMap<string, RepairSet>;
  /** Nodes that are not revoked. */
  readonly fleetSize: number;
  /** By scope, as RepairNode.scope says. */
  readonly controlPlanes: ReadonlyMap<string, ControlPlanes>;
}

export interface RepairNode {
  readonly nodeId: string;
  readonly name: string;
  readonly labels: Labels;
  /** Its NodeSet; undefined: none selects it. */
  readonly set: string | undefined;
  /** The Cluster of its set; empty: none. */
  readonly cluster: string;
  readonly verdict: "healthy" | "unhealthy" | "unknown";
  readonly verdictReason: string;
  /** Since when the verdict has been that without a pause, as far as this coordinator has seen. */
  readonly verdictSinceMs: number;
  /** Why nothing may be done there now; undefined: its cells are calm. */
  readonly disruption: string | undefined;
  /** By rollout, drain or an operator; repairs are counted besides. */
  readonly isInChange: boolean;
  /** In change, soaking, failed, not healthy or under maintenance. */
  readonly isUnavailable: boolean;
  /** Why a rollout has it now; undefined: none has. */
  readonly rolloutHold: string | undefined;
  readonly maintenance: FleetMaintenance | undefined;
  /** Which control planes it is one of; undefined: it is none. */
  readonly controlPlaneScope: string | undefined;
  /** The Node of this machine; undefined: it is in no cluster that is known. readAtMs: when its cluster said so. */
  readonly kubernetes: { readonly ready: "True" | "False" | "Unknown"; readonly readAtMs: number | undefined } | undefined;
  /** undefined: never seen. */
  readonly lastBeatAtMs: number | undefined;
  /** Empty: not told yet. */
  readonly bootId: string;
  /** What was decided for it last, and how the node stands to that; undefined: nothing was ever decided. */
  readonly plan:
    | {
        readonly generation: number;
        readonly outcome: "none" | "accepted" | "enforced" | "failed" | "rejected" | "refused";
        readonly message: string;
        readonly hasOpenDrift: boolean;
        /** Whether it joins a cluster. */
        readonly isJoining: boolean;
      }
    | undefined;
}

export interface RepairSet {
  readonly name: string;
  readonly cluster: string;
  readonly size: number;
  readonly strategy: ResolvedStrategy;
  readonly allowControlPlaneDowntime: boolean;
  /** undefined: off. */
  readonly remediation:
    | {
        readonly unhealthyForMs: number;
        readonly rungs: readonly Rung[];
        readonly units: readonly string[];
        readonly topologyKey: string;
        readonly opening: RolloutInput["opening"];
      }
    | undefined;
}

export interface ControlPlanes {
  /** undefined: the cluster has not said yet who they are, or no longer does. */
  readonly members: readonly { readonly nodeId: string | undefined; readonly name: string; readonly isHealthy: boolean }[] | undefined;
}

interface OfRepair {
  /** metadata.name of the Repair. */
  readonly repair: string;
  readonly nodeId: string;
  readonly name: string;
}

export type RepairDecision =
  /** Nobody asked: a Repair is made, and begins in the same commit. */
  | {
      readonly type: "create";
      readonly nodeId: string;
      readonly name: string;
      readonly rungs: readonly Rung[];
      readonly units: readonly string[];
      readonly reason: string;
    }
  /** Takes its node's place in the budgets, and begins with the first rung. */
  | (OfRepair & { readonly type: "begin"; readonly rung: Rung })
  /** The node's MaintenanceRecord is to say this. */
  | (OfRepair & { readonly type: "hold"; readonly wanted: "cordon" | "drain"; readonly deadlineAtMs: number })
  | (OfRepair & { readonly type: "gather"; readonly rung: Rung; readonly evidence: string })
  /** The rung begins: written before the node is asked; Reapply and Rejoin are done by it, with a generation of their own. */
  | (OfRepair & { readonly type: "ask"; readonly rung: Rung; readonly bootId: string })
  /** The node is to be asked, or asked again; it does the same request once. */
  | (OfRepair & { readonly type: "run"; readonly rung: Rung; readonly requestId: string; readonly units: readonly string[] })
  /** The rung was done, as is known without the node's answer. */
  | (OfRepair & { readonly type: "done"; readonly message: string })
  | (OfRepair & {
      readonly type: "judge";
      readonly outcome: "DidNotHelp" | "Failed";
      readonly message: string;
      /** When the next rung may begin; undefined: there is none. */
      readonly nextAtMs: number | undefined;
    })
  | (OfRepair & { readonly type: "climb"; readonly rung: Rung; readonly index: number })
  /** Its place is given back. */
  | (OfRepair & {
      readonly type: "end";
      readonly phase: "Succeeded" | "HandedOver" | "Failed" | "Cancelled";
      readonly reason: string;
      readonly message: string;
    })
  /** A place whose Repair has ended. */
  | { readonly type: "release"; readonly nodeId: string; readonly name: string; readonly owner: string }
  /** An hour of health has passed since. */
  | (OfRepair & { readonly type: "clear" })
  /** Why nothing happens. repair undefined: a candidate for remediation. */
  | {
      readonly type: "wait";
      readonly repair: string | undefined;
      readonly nodeId: string;
      readonly name: string;
      readonly reason: RepairWaitReason;
      readonly message: string;
    }
  /** Nothing changes before this by itself; ask again then. */
  | { readonly type: "askAgain"; readonly atMs: number };

export type RepairWaitReason =
  | "NodeUnknown"
  | "CellDisrupted"
  | "UnderMaintenance"
  | "RolloutHoldsNode"
  | "RecentlyRepaired"
  | "TooManyUnhealthy"
  | "OutsideWindow"
  | "Frozen"
  | "FailureDomainBusy"
  | "SetRepairsSpent"
  | "FleetRepairsSpent"
  | "BudgetSpent"
  | "TopologyBudgetSpent"
  | "Exclusive"
  | "QuorumAtRisk"
  | "QuorumUnknown"
  | "ControlPlaneDowntime"
  | "Draining"
  | "RungRunning"
  | "Checking"
  | "Backoff";

/** What is or was done for nobody but the coordinator itself. */
export const REMEDIATION = "coordinator";
