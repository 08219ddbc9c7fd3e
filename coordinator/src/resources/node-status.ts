/** What a Node shows of itself: computed from its record, what was decided for it and what it reported. Never stored. Pure. */
import type { Condition, Node } from "@drover/api";
import { type Change, type Facts, Impact } from "@drover/proto";
import type { ObservedNode, ObservedStep } from "../fleet/fleet.ts";
import type { DesiredNode, NodeRecord } from "../records.ts";

type NodeStatus = NonNullable<Node["status"]>;

export interface NodeStatusInput {
  readonly record: NodeRecord | undefined;
  readonly desired: DesiredNode | undefined;
  readonly observed: ObservedNode | undefined;
  readonly nodeSet: string;
  /** Ids of the steps in the desired plan, in order. */
  readonly plannedSteps: readonly string[];
  /** What the coordinator itself knows of the node: a suspected clone, step kinds it lacks, Ready in its cluster. */
  readonly ownConditions: readonly Condition[];
  /** As its cluster's own API says. */
  readonly kubernetes: NodeStatus["kubernetes"];
  /** Coordinator's Unix milliseconds of the last beat. */
  readonly lastBeatUnixMs: number | undefined;
}

export function nodeStatus(input: NodeStatusInput): NodeStatus {
  const { record, desired, observed } = input;
  return {
    phase: phaseOf(input),
    health: observed?.health.verdict ?? "unknown",
    healthReason: observed?.health.reason ?? "NeverSeen",
    ...(input.lastBeatUnixMs === undefined ? {} : { lastHeartbeatTime: timestamp(input.lastBeatUnixMs) }),
    desiredGeneration: desired?.generation ?? 0,
    observedGeneration: observed?.observedGeneration ?? 0,
    planEpoch: desired?.planEpoch ?? observed?.planEpoch ?? 0,
    desiredRevision: desired?.revision ?? "",
    enforcedRevision: observed?.enforcedRevision ?? "",
    nodeSet: input.nodeSet,
    rollout: desired?.rollout ?? "",
    conditions: [...input.ownConditions, ...(observed?.conditions ?? []).map(conditionOf), ...revokedCondition(record)],
    steps: stepsOf(input),
    drift: (observed?.drift ?? []).map(({ step, changes, isRepaired, atUnixMs }) => ({
      step,
      changes: changes.map(changeOf),
      repaired: isRepaired,
      at: timestamp(atUnixMs),
    })),
    ...(observed === undefined || observed.images.length === 0
      ? {}
      : { images: observed.images.map(({ name, digest, sizeBytes, pinned }) => ({ name, digest, size: sizeBytes, pinned })) }),
    ...(observed?.facts === undefined ? {} : { facts: factsOf(observed.facts) }),
    ...(input.kubernetes === undefined ? {} : { kubernetes: input.kubernetes }),
  };
}

/** Whether the node's last report is about the generation that was decided last. */
export function isCurrent(desired: DesiredNode, observed: ObservedNode | undefined): boolean {
  return observed?.planEpoch === desired.planEpoch && observed.observedGeneration === desired.generation;
}

export function phaseOf({ record, desired, observed }: Pick<NodeStatusInput, "record" | "desired" | "observed">): string {
  if (record?.revokedAtMs !== undefined) return "Revoked";
  if (observed === undefined) return "Pending";
  if (desired !== undefined) {
    if (!isCurrent(desired, observed)) return observed.health.verdict === "healthy" ? "Applying" : "Unknown";
    if (observed.outcome === "failed" || observed.outcome === "rejected" || observed.outcome === "refused") return "Failed";
    if (observed.outcome !== "enforced") return "Applying";
  }
  if (observed.health.verdict === "unhealthy") return "Failed";
  if (observed.health.verdict === "unknown") return "Unknown";
  if (observed.drift.some(({ isRepaired }) => !isRepaired)) return "Drifted";
  return desired === undefined ? "Pending" : "InSync";
}

function stepsOf({ desired, observed, plannedSteps }: NodeStatusInput): NodeStatus["steps"] {
  const reported = observed?.steps ?? [];
  if (desired === undefined || isCurrent(desired, observed)) {
    const seen = new Set(reported.map(({ step }) => step));
    const missing = desired === undefined || observed?.outcome === "refused" ? [] : plannedSteps.filter((step) => !seen.has(step));
    return [...reported.map(stepOf), ...missing.map(pendingStep)];
  }
  return plannedSteps.map(pendingStep);
}

function pendingStep(step: string): NodeStatus["steps"][number] {
  return { step, outcome: "pending", reason: "", message: "", changes: [] };
}

function stepOf(step: ObservedStep): NodeStatus["steps"][number] {
  return {
    step: step.step,
    outcome: step.outcome,
    reason: step.reason,
    message: step.message,
    changes: step.changes.map(changeOf),
    ...(step.outputTail === "" ? {} : { outputTail: step.outputTail }),
    ...(step.outputDigest === "" ? {} : { outputDigest: step.outputDigest }),
    at: timestamp(step.atUnixMs),
  };
}

function conditionOf(condition: ObservedNode["conditions"][number]): Condition {
  const { type, status, reason, message, lastTransitionUnixMs, generation } = condition;
  return { type, status, reason, message, lastTransitionTime: timestamp(lastTransitionUnixMs), observedGeneration: generation };
}

function revokedCondition(record: NodeRecord | undefined): Condition[] {
  if (record?.revokedAtMs === undefined) return [];
  return [
    {
      type: "Revoked",
      status: "True",
      reason: "Revoked",
      message: record.revokedReason ?? "",
      lastTransitionTime: timestamp(record.revokedAtMs),
    },
  ];
}

function factsOf({ _unknownFields, ...facts }: Facts): Record<string, unknown> {
  return { ...facts };
}

const IMPACT_WORDS: Readonly<Record<number, string>> = {
  [Impact.IMPACT_LIVE]: "live",
  [Impact.IMPACT_RESTART]: "restart",
  [Impact.IMPACT_DRAIN]: "drain",
  [Impact.IMPACT_REBOOT]: "reboot",
};

function changeOf({ path, from, to, impact, note }: Change): NodeStatus["steps"][number]["changes"][number] {
  return { path, from, to, impact: IMPACT_WORDS[impact] ?? "unspecified", note };
}

/** RFC 3339, or the epoch for what a node's broken clock made up. */
export function timestamp(unixMs: number): string {
  return new Date(Math.abs(unixMs) <= 8.64e15 ? unixMs : 0).toISOString();
}
