/** What `get` shows of each kind, plain and wide. */
import type { DroverObject, Kind } from "@drover/api";
import { FACT_LABELS, worstOf } from "./conditions.ts";
import { age } from "./table.ts";

export interface Column {
  readonly title: string;
  readonly isWide?: boolean;
  readonly cell: (object: DroverObject, nowMs: number) => string;
}

function column<K extends Kind>(
  title: string,
  cell: (object: Extract<DroverObject, { kind: K }>, nowMs: number) => string | number | undefined,
  isWide = false,
): Column {
  return { title, isWide, cell: (object, nowMs) => String(cell(object as Extract<DroverObject, { kind: K }>, nowMs) ?? "-") };
}

const name: Column = { title: "NAME", cell: (object) => object.metadata.name };
const created: Column = { title: "AGE", cell: (object, nowMs) => age(object.metadata.creationTimestamp, nowMs) };
const shortDigest = (digest: string | undefined): string =>
  digest === undefined || digest === "" ? "-" : digest.replace("sha256:", "").slice(0, 12);
/** Labels that people gave; what facts say has columns and lines of its own. */
const labelsOf = (object: DroverObject): string =>
  Object.entries(object.metadata.labels ?? {})
    .filter(([key]) => !key.startsWith(FACT_LABELS))
    .map(([key, value]) => `${key}=${value}`)
    .join(",") || "-";
const labels: Column = { title: "LABELS", isWide: true, cell: labelsOf };

export const columns: { readonly [K in Kind]: readonly Column[] } = {
  Node: [
    name,
    column<"Node">("PHASE", (node) => node.status?.phase),
    column<"Node">("HEALTH", (node) => node.status?.health),
    column<"Node">("SET", (node) => node.status?.nodeSet || "-"),
    column<"Node">("GENERATION", (node) =>
      node.status === undefined ? "-" : `${node.status.observedGeneration}/${node.status.desiredGeneration}`,
    ),
    column<"Node">("REVISION", (node) => shortDigest(node.status?.enforcedRevision)),
    column<"Node">("SEEN", (node, nowMs) => age(node.status?.lastHeartbeatTime, nowMs)),
    created,
    column<"Node">("ID", (node) => node.metadata.uid, true),
    column<"Node">("KERNEL", (node) => node.status?.facts?.["kernel"] as string | undefined, true),
    column<"Node">("CONTAINERD", (node) => (node.status?.facts?.["versions"] as Record<string, string> | undefined)?.["containerd"], true),
    column<"Node">("READY", (node) => node.status?.kubernetes?.ready, true),
    column<"Node">("REASON", (node) => worstOf(node.status?.conditions ?? [])?.reason, true),
    labels,
  ],
  NodeSet: [
    name,
    column<"NodeSet">("PROFILE", (set) => set.spec.profile),
    column<"NodeSet">("NODES", (set) => set.status?.nodes),
    column<"NodeSet">("UPDATED", (set) => set.status?.updated),
    column<"NodeSet">("INSYNC", (set) => set.status?.inSync),
    column<"NodeSet">("MAXUNAVAILABLE", (set) => set.spec.strategy.maxUnavailable),
    created,
    column<"NodeSet">("REVISION", (set) => shortDigest(set.status?.revision), true),
    labels,
  ],
  NodeProfile: [
    name,
    column<"NodeProfile">("STEPS", (profile) => Object.keys(profile.spec).join(",")),
    column<"NodeProfile">("REVISION", (profile) => shortDigest(profile.status?.revision)),
    created,
    labels,
  ],
  Cluster: [
    name,
    column<"Cluster">("PHASE", (cluster) => cluster.status?.phase),
    column<"Cluster">("ENDPOINT", (cluster) => cluster.spec.endpoint),
    column<"Cluster">("VERSION", (cluster) => cluster.status?.kubernetesVersion || "-"),
    column<"Cluster">("READY", (cluster) => (cluster.status === undefined ? "-" : `${cluster.status.readyNodes}/${cluster.status.nodes}`)),
    created,
    column<"Cluster">("REASON", (cluster) => cluster.status?.reason || "-", true),
    labels,
  ],
  Rollout: [
    name,
    column<"Rollout">("SET", (rollout) => rollout.spec.nodeSet),
    column<"Rollout">("PHASE", (rollout) => rollout.status?.phase),
    column<"Rollout">("UPDATED", (rollout) => (rollout.status === undefined ? "-" : `${rollout.status.updated}/${rollout.status.total}`)),
    column<"Rollout">("INCHANGE", (rollout) => rollout.status?.inChange),
    column<"Rollout">("FAILED", (rollout) => rollout.status?.failed),
    created,
    column<"Rollout">("REVISION", (rollout) => shortDigest(rollout.spec.revision), true),
    column<"Rollout">("REASON", (rollout) => rollout.status?.reason || "-", true),
  ],
  MaintenanceWindow: [
    name,
    column<"MaintenanceWindow">("TIMEZONE", (window) => window.spec.timeZone),
    column<"MaintenanceWindow">("OPEN", (window) => (window.status === undefined ? "-" : window.status.open ? "yes" : "no")),
    column<"MaintenanceWindow">("NEXT", (window) => window.status?.nextChange),
    created,
  ],
  Repair: [
    name,
    column<"Repair">("NODE", (repair) => repair.spec.nodeName),
    column<"Repair">("PHASE", (repair) => repair.status?.phase),
    column<"Repair">("RUNG", (repair) => repair.spec.rungs[repair.status?.rung ?? -1]),
    created,
    column<"Repair">("BY", (repair) => repair.spec.requestedBy, true),
    column<"Repair">("REASON", (repair) => repair.status?.reason || "-", true),
  ],
  ImageLock: [name, column<"ImageLock">("IMAGES", (lock) => lock.spec.images.length), created, labels],
  JoinToken: [
    name,
    column<"JoinToken">("PHASE", (token) => token.status?.phase),
    column<"JoinToken">("NODE", (token) => token.status?.node),
    column<"JoinToken">("EXPIRES", (token) => token.spec.expiresAt),
    created,
    column<"JoinToken">("DESCRIPTION", (token) => token.spec.description, true),
  ],
};
