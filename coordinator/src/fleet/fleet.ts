/** What the nodes have told, in memory: the view that rollouts, status and health read. Filled by ingest. */
import type { Change, Facts, ImageState } from "@drover/proto";

/** One node as last observed. Times are coordinator monotonic milliseconds unless the name says otherwise. */
export interface ObservedNode {
  readonly nodeId: string;
  /** From the last heartbeat; 0: none seen. */
  readonly beatGeneration: number;
  readonly beatFlags: number;
  /** undefined: never heard of since the coordinator knows. */
  readonly lastBeatAtMs: number | undefined;
  /** The broker's stamp of that beat, Unix milliseconds of the broker's clock. */
  readonly lastBeatBrokerMs: number | undefined;
  /** From reports: the pair last accepted, and how it ended. */
  readonly planEpoch: number;
  readonly observedGeneration: number;
  readonly outcome: "none" | "accepted" | "enforced" | "failed" | "rejected" | "refused";
  readonly reason: string;
  readonly message: string;
  readonly failedStep: string;
  readonly enforcedRevision: string;
  /** Coordinator's Unix milliseconds when it was told that the plan of that pair is enforced; 0: it is not. */
  readonly enforcedAtUnixMs: number;
  /** Of observedGeneration, in order of their start. */
  readonly steps: readonly ObservedStep[];
  readonly conditions: readonly ObservedCondition[];
  /** Found since the last plan was enforced, newest last, at most 16; open unless isRepaired. */
  readonly drift: readonly ObservedDrift[];
  readonly facts: Facts | undefined;
  /** Another number whenever other facts were told, for as long as this coordinator runs. */
  readonly factsVersion?: number;
  readonly images: readonly ImageState[];
  /** Coordinator Unix milliseconds of the last folded report. */
  readonly lastReportUnixMs: number;
  readonly health: Health;
}

export interface ObservedStep {
  readonly step: string;
  readonly outcome: "running" | "unchanged" | "changed" | "failed";
  readonly reason: string;
  readonly message: string;
  readonly changes: readonly Change[];
  readonly outputTail: string;
  /** Hex. */
  readonly outputDigest: string;
  readonly outputBytes: number;
  /** Node's Unix milliseconds. */
  readonly atUnixMs: number;
}

export interface ObservedCondition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionUnixMs: number;
  readonly generation: number;
  /** Told after the plan that is enforced was told to be so: evidence of what it did. */
  readonly isSinceEnforced: boolean;
}

export interface ObservedDrift {
  readonly step: string;
  readonly changes: readonly Change[];
  readonly isRepaired: boolean;
  readonly atUnixMs: number;
  /** Coordinator's Unix milliseconds since when the step has drifted without a break. */
  readonly sinceUnixMs: number;
}

export interface Health {
  readonly verdict: "healthy" | "unhealthy" | "unknown";
  readonly reason: string;
}

export interface FleetView {
  node(nodeId: string): ObservedNode | undefined;
  nodes(): Iterable<ObservedNode>;
  /** Called after a fold with the ids that changed (conditions, outcome, steps, health; not mere beats). Returned function stops it. */
  onChange(listen: (nodeIds: readonly string[]) => void): () => void;
}
