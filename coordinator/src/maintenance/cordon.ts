/** How a Node is cordoned and uncordoned: an annotation on it remembers that it was us, and for whom. Pure. */
import { type ClusterNode, CORDON_ANNOTATION, NODE_MARK, type NodePatch } from "../cluster/cluster-api.ts";
import type { MaintenanceRecord } from "../records.ts";

/** It carries our annotation for that node. */
export function isCordonedFor(node: ClusterNode, nodeId: string): boolean {
  return node.annotations[CORDON_ANNOTATION] === nodeId;
}

/** A Node of that name that is another machine's by its mark: the one that was meant has gone. */
export function isAnothers(node: ClusterNode, nodeId: string): boolean {
  const marked = node.annotations[NODE_MARK];
  return marked !== undefined && marked !== nodeId;
}

export function cordonPatch({ resourceVersion }: ClusterNode, nodeId: string): NodePatch {
  return { resourceVersion, labels: {}, annotations: { [CORDON_ANNOTATION]: nodeId }, taints: undefined, isUnschedulable: true };
}

export function uncordonPatch({ resourceVersion }: ClusterNode): NodePatch {
  return { resourceVersion, labels: {}, annotations: { [CORDON_ANNOTATION]: null }, taints: undefined, isUnschedulable: false };
}

const CORDONED_PHASES: ReadonlySet<MaintenanceRecord["phase"]> = new Set(["cordoned", "draining", "drained"]);

/** Whether it was us who cordoned it: by the annotation, or by the record should somebody have taken the annotation away. */
export function isOursToUncordon(node: ClusterNode, record: MaintenanceRecord): boolean {
  const { nodeId, phase, wasCordoned, startedAtMs } = record;
  if (isCordonedFor(node, nodeId)) return true;
  const isByRecord = CORDONED_PHASES.has(phase) && !wasCordoned && node.annotations[CORDON_ANNOTATION] === undefined;
  // A Node that is younger than the record was never cordoned by it without an annotation.
  return isByRecord && node.isUnschedulable && !isAnothers(node, nodeId) && node.createdAtMs <= startedAtMs;
}
