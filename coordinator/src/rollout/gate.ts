/** Whether a change has proved itself, by what was told after it only: conditions, probes, Ready in the cluster's own API. Pure. */
import type { ObservedCondition } from "../fleet/fleet.ts";
import type { FleetNode } from "./model.ts";

export interface GateInput {
  /** Conditions that must be True: those of the strategy, and one for each probe of the plan. */
  readonly conditionTypes: readonly string[];
  /** Whether the generation that was decided last is enforced. */
  readonly isEnforced: boolean;
  readonly conditions: readonly ObservedCondition[];
  /** undefined: Ready in its cluster is not asked for. */
  readonly kubernetes: KubernetesEvidence | undefined;
  /** Coordinator's Unix milliseconds when it was told that it is enforced. */
  readonly enforcedAtMs: number;
}

export interface KubernetesEvidence {
  /** undefined: its cluster shows no Node of it. */
  readonly ready: "True" | "False" | "Unknown" | undefined;
  readonly message: string;
  /** Coordinator's Unix milliseconds: when asking its cluster began, the last time that it answered, and since when Ready is as it is. */
  readonly readAtMs: number | undefined;
  readonly sinceMs: number | undefined;
}

const PASSED: FleetNode["gate"] = { state: "passed", message: "" };
const NOT_ENFORCED: FleetNode["gate"] = { state: "pending", message: "its change is not enforced yet" };

export function gateOf(input: GateInput): FleetNode["gate"] {
  if (!input.isEnforced) return NOT_ENFORCED;
  let pending: string | undefined;
  for (const type of input.conditionTypes) {
    const condition = input.conditions.find((told) => told.type === type);
    if (condition?.isSinceEnforced !== true) pending ??= `condition ${type} was not told since the change`;
    else if (condition.status === "False") return failed(`condition ${type} is False: ${condition.reason}: ${condition.message}`);
    else if (condition.status === "Unknown") pending ??= `condition ${type} is Unknown: ${condition.reason}: ${condition.message}`;
  }
  const kubernetes = kubernetesGate(input);
  if (kubernetes.state === "failed") return kubernetes;
  if (pending !== undefined) return { state: "pending", message: pending };
  return kubernetes;
}

function kubernetesGate({ kubernetes, enforcedAtMs }: GateInput): FleetNode["gate"] {
  if (kubernetes === undefined) return PASSED;
  const { ready, message, readAtMs, sinceMs } = kubernetes;
  const isFresh = (readAtMs !== undefined && readAtMs >= enforcedAtMs) || (sinceMs !== undefined && sinceMs >= enforcedAtMs);
  if (!isFresh) return { state: "pending", message: "its cluster was not asked since the change whether it is Ready" };
  if (ready === "True") return PASSED;
  if (ready === undefined) return { state: "pending", message: "its cluster shows no Node of it yet" };
  const text = `Ready is ${ready} in its cluster: ${message}`;
  return ready === "False" ? failed(text) : { state: "pending", message: text };
}

function failed(message: string): FleetNode["gate"] {
  return { state: "failed", message };
}
