/**
 * NATS subjects and streams, spelled here and nowhere else.
 * Who may use which: nodes what `nodePermissions` says, which their user JWTs are made from; the coordinator all of it.
 */
export const SHARD_COUNT = 64;

export const streams = {
  heartbeats: "HEARTBEATS",
  reports: "REPORTS",
} as const;

const HEARTBEAT_PREFIX = "drover.hb.";
const REPORT_PREFIX = "drover.report.";
const NODE_ID = /^[a-z2-7]{10}$/;

/** Whether text is a node id: 10 lower-case base32 characters, made by the coordinator. */
export function isNodeId(text: string): boolean {
  return NODE_ID.test(text);
}

/** Stable shard of a node, 0 to 63: FNV-1a of its id, as it is asked for each message that comes in. */
export function shardOf(nodeId: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < nodeId.length; index += 1) hash = Math.imul(hash ^ nodeId.charCodeAt(index), 0x01000193);
  // Low bits of FNV-1a depend on few of the bits that went in: fold the high ones in.
  return (hash ^ (hash >>> 16)) & (SHARD_COUNT - 1);
}

export const subjects = {
  heartbeat: (nodeId: string): string => `${HEARTBEAT_PREFIX}${shardOf(nodeId)}.${nodeId}`,
  report: (nodeId: string): string => `${REPORT_PREFIX}${shardOf(nodeId)}.${nodeId}`,
  toNode: (nodeId: string): string => `drover.to.${nodeId}`,
  budget: (shard: number): string => `drover.budget.${shard}`,
  allHeartbeats: "drover.hb.>",
  allReports: "drover.report.>",
  /** The coordinator's own 1 s beat: what proves that its view of NATS is fresh. */
  sentinel: "drover.hb.sentinel.coordinator",
} as const;

/** The node a heartbeat or report subject belongs to; undefined when it is not one. */
export function nodeOfSubject(subject: string): string | undefined {
  const prefix = subject.startsWith(HEARTBEAT_PREFIX) ? HEARTBEAT_PREFIX : REPORT_PREFIX;
  if (prefix === REPORT_PREFIX && !subject.startsWith(REPORT_PREFIX)) return undefined;
  const dot = subject.lastIndexOf(".");
  const node = subject.slice(dot + 1);
  return isNodeId(node) && subject.slice(prefix.length, dot) === String(shardOf(node)) ? node : undefined;
}

/** All that a node's NATS credential may do. */
export function nodePermissions(nodeId: string): { publish: string[]; subscribe: string[] } {
  return {
    publish: [subjects.heartbeat(nodeId), subjects.report(nodeId)],
    subscribe: [subjects.toNode(nodeId), subjects.budget(shardOf(nodeId))],
  };
}
