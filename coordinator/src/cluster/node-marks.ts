/** Labels and taints of a Node that a plan names, against those it has: only what is ours is changed. What is ours an annotation on the Node remembers. Pure. */
import { NODE_SET_LABEL } from "@drover/api";
import type { KubeadmSpec } from "@drover/proto";
import type { ExpectedNodeRecord } from "../records.ts";
import { type ClusterNode, type ClusterTaint, MANAGED_ANNOTATION, NODE_MARK, type NodePatch } from "./cluster-api.ts";

/** Kubernetes' own taints, set by what goes on at the node. */
const KUBERNETES_TAINTS = ["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"];

const CONTROL_PLANE_ROLES = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/**
 * Whether the machine joined as this Node. What a machine says of itself, its hostname for one, proves nothing: a Node says so, or it came by a token
 * that was minted for the machine under this very name, has the label that kubeadm gave it, and is no control plane.
 */
export function isOurs(node: ClusterNode, nodeId: string, adoption: string, expected: Iterable<ExpectedNodeRecord>): boolean {
  const marked = node.annotations[NODE_MARK];
  if (marked !== undefined) return marked === nodeId;
  if (node.labels[NODE_SET_LABEL] === undefined || isControlPlane(node)) return false;
  let last: ExpectedNodeRecord | undefined;
  for (const record of expected) {
    if (record.nodeName !== node.name || record.adoption !== adoption) continue;
    if (last === undefined || record.mintedAtMs > last.mintedAtMs) last = record;
  }
  return last?.nodeId === nodeId;
}

function isControlPlane({ labels, taints }: ClusterNode): boolean {
  return CONTROL_PLANE_ROLES.some((role) => labels[role] !== undefined || taints.some(({ key }) => key === role));
}

/** undefined: nothing is to be done. */
export function markPatch(
  node: ClusterNode,
  nodeId: string,
  { nodeLabels, taints }: Pick<KubeadmSpec, "nodeLabels" | "taints">,
): NodePatch | undefined {
  const managed = readManaged(node.annotations[MANAGED_ANNOTATION]);
  const labels: Record<string, string | null> = {};
  for (const [key, value] of Object.entries(nodeLabels)) if (node.labels[key] !== value) labels[key] = value;
  for (const key of managed.labels)
    if (isRemovable(key) && !Object.hasOwn(nodeLabels, key) && node.labels[key] !== undefined) labels[key] = null;

  const wanted = taints.filter(({ key }) => isTouchable(key));
  const wantedIds = new Set(wanted.map(taintId));
  const ours = new Set([...managed.taints.filter(isRemovable), ...wantedIds]);
  const present = new Map(node.taints.map((taint) => [taintId(taint), taint]));
  const isSame = wanted.every((taint) => present.get(taintId(taint))?.value === taint.value);
  const isLeft = node.taints.some((taint) => isTouchable(taint.key) && ours.has(taintId(taint)) && !wantedIds.has(taintId(taint)));
  const kept = node.taints.filter((taint) => !isTouchable(taint.key) || !ours.has(taintId(taint)));
  const newTaints = isSame && !isLeft ? undefined : [...kept, ...wanted.map(({ key, value, effect }) => ({ key, value, effect }))];

  const annotations: Record<string, string> = {};
  const nowManaged = JSON.stringify({ labels: Object.keys(nodeLabels).sort(), taints: [...wantedIds].sort() });
  if (node.annotations[MANAGED_ANNOTATION] !== nowManaged) annotations[MANAGED_ANNOTATION] = nowManaged;
  if (node.annotations[NODE_MARK] !== nodeId) annotations[NODE_MARK] = nodeId;
  if (Object.keys(labels).length === 0 && Object.keys(annotations).length === 0 && newTaints === undefined) return undefined;
  return { resourceVersion: node.resourceVersion, labels, annotations, taints: newTaints };
}

/** Kubernetes knows one taint for each key and effect. */
function taintId({ key, effect }: Pick<ClusterTaint, "key" | "effect">): string {
  return `${key}:${effect}`;
}

function isTouchable(key: string): boolean {
  return !KUBERNETES_TAINTS.some((prefix) => key.startsWith(prefix));
}

/**
 * The annotation is the kubelet's to write, too, whom Kubernetes keeps from labels and taints in its own name, as node-restriction.kubernetes.io/: we
 * must not be the way around. @param key of a label, or a taint's id
 */
function isRemovable(key: string): boolean {
  const slash = key.indexOf("/");
  return slash < 0 || !/(^|\.)(kubernetes|k8s)\.io$/.test(key.slice(0, slash));
}

/** Anybody who may change Nodes can write there: what is not ours in form counts as nothing. */
function readManaged(text: string | undefined): { readonly labels: readonly string[]; readonly taints: readonly string[] } {
  try {
    const { labels, taints } = JSON.parse(text ?? "{}") as { labels?: unknown; taints?: unknown };
    return { labels: texts(labels), taints: texts(taints) };
  } catch {
    return { labels: [], taints: [] };
  }
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}
