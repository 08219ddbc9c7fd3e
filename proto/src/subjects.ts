/**
 * NATS subjects and streams, spelled here and nowhere else.
 * Who may use which: nodes what `nodePermissions` says, which their user JWTs are made from; the coordinator all of it.
 */
import { createHash } from "node:crypto";

export const SHARD_COUNT = 64;

export const streams = {
  heartbeats: "HEARTBEATS",
  reports: "REPORTS",
} as const;

const NODE_ID = /^[a-z2-7]{10}$/;

/** Whether text is a node id: 10 lower-case base32 characters, made by the coordinator. */
export function isNodeId(text: string): boolean {
  return NODE_ID.test(text);
}

/** Stable shard of a node, 0 to 63. */
export function shardOf(nodeId: string): number {
  return createHash("sha256").update(nodeId).digest()[0]! % SHARD_COUNT;
}

export const subjects = {
  heartbeat: (nodeId: string): string => `drover.hb.${shardOf(nodeId)}.${nodeId}`,
  report: (nodeId: string): string => `drover.report.${shardOf(nodeId)}.${nodeId}`,
  toNode: (nodeId: string): string => `drover.to.${nodeId}`,
  budget: (shard: number): string => `drover.budget.${shard}`,
  allHeartbeats: "drover.hb.>",
  allReports: "drover.report.>",
  /** The coordinator's own 1 s beat: what proves that its view of NATS is fresh. */
  sentinel: "drover.hb.sentinel.coordinator",
} as const;

/** The node a heartbeat or report subject belongs to; undefined when it is not one. */
export function nodeOfSubject(subject: string): string | undefined {
  const parts = subject.split(".");
  const node = parts[3];
  if (parts.length !== 4 || parts[0] !== "drover" || node === undefined || !isNodeId(node)) return undefined;
  if (parts[1] !== "hb" && parts[1] !== "report") return undefined;
  return parts[2] === String(shardOf(node)) ? node : undefined;
}

/** All that a node's NATS credential may do. */
export function nodePermissions(nodeId: string): { publish: string[]; subscribe: string[] } {
  return {
    publish: [subjects.heartbeat(nodeId), subjects.report(nodeId)],
    subscribe: [subjects.toNode(nodeId), subjects.budget(shardOf(nodeId))],
  };
}
