/** What a NodeSet shows of itself. Computed, never stored. Pure. */
import type { Condition, NodeSet, Rollout } from "@drover/api";
import type { RestoredRecord } from "../records.ts";
import type { Contest } from "./membership.ts";
import { timestamp } from "./node-status.ts";

export interface NodeSetStatusInput {
  readonly set: NodeSet;
  readonly rollout: Rollout | undefined;
  /** Why there is no revision to move to: the profile, or a lock it names, is missing. */
  readonly missing: string | undefined;
  readonly contests: readonly Contest[];
  readonly restored: RestoredRecord | undefined;
  readonly nodes: number;
  readonly updated: number;
  readonly inSync: number;
}

export function nodeSetStatus(input: NodeSetStatusInput): NonNullable<NodeSet["status"]> {
  const { set, rollout } = input;
  const generation = set.metadata.generation ?? 1;
  const since = set.metadata.creationTimestamp ?? timestamp(0);
  const condition = (type: string, isTrue: boolean, reason: string, message: string, lastTransitionTime = since): Condition => ({
    type,
    status: isTrue ? "True" : "False",
    reason,
    message,
    lastTransitionTime,
    observedGeneration: generation,
  });
  const conditions = [
    input.missing === undefined ? condition("Resolved", true, "Found", "") : condition("Resolved", false, "NotFound", input.missing),
  ];
  if (input.contests.length > 0) conditions.push(condition("SelectorConflict", true, "NodesOfAnOlderSet", contestsText(input.contests)));
  if (input.restored !== undefined)
    conditions.push(condition("RestoredFromBackup", true, "NodesKnowMore", restoredText(input.restored), timestamp(input.restored.atMs)));
  const status = rollout?.status;
  if (status !== undefined) {
    const isComplete = status.phase === "Complete";
    const isStopped = status.phase === "Stopped";
    const changedAt = status.finishedAt ?? status.startedAt ?? since;
    conditions.push(condition("Progressing", !isComplete && !isStopped, status.reason, status.message, changedAt));
    conditions.push(condition("Updated", isComplete, status.reason, status.message, changedAt));
  }
  return {
    observedGeneration: generation,
    nodes: input.nodes,
    updated: input.updated,
    inSync: input.inSync,
    revision: rollout?.spec.revision ?? "",
    conditions,
  };
}

export function restoredText(restored: RestoredRecord): string {
  const pair = (epoch: number, generation: number): string => `(${epoch}, ${generation})`;
  return (
    `node ${restored.nodeId} knows (plan epoch, generation) ${pair(restored.seenEpoch, restored.seenGeneration)}, ` +
    `this coordinator only ${pair(restored.ownEpoch, restored.ownGeneration)}: its store is an old backup; ` +
    "nothing is decided until `drover-coordinator restore --accept`"
  );
}

function contestsText(contests: readonly Contest[]): string {
  const some = contests.slice(0, 5).map(({ member, owner }) => `${member.name} (of ${owner})`);
  const rest = contests.length - some.length;
  return `also selected by an older set, which keeps them: ${some.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}
