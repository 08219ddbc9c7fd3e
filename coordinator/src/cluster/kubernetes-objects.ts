/** What goes into a cluster's API and what comes out of it, as objects: ours from theirs and back. Pure. */
import type { V1Node, V1Pod } from "@kubernetes/client-node";
import { ADOPTION_LABEL, type ClusterNode, type ClusterPod, type Eviction, NODE_MARK, type NewBootstrapToken } from "./cluster-api.ts";

/** Where bootstrap tokens lie. */
export const NAMESPACE = "kube-system";
export const TOKEN_TYPE = "bootstrap.kubernetes.io/token";
export const TOKEN_NAME = "bootstrap-token-";
/** The group that kubeadm lets ask for a kubelet's certificate. */
const TOKEN_GROUP = "system:bootstrappers:kubeadm:default-node-token";
const ANNOTATIONS = "drover.dev/";
/** Of what a server says. */
export const MAX_TEXT = 300;

export function tokenSecret({ tokenId, secret, expiresAtMs, description, nodeId, adoption }: NewBootstrapToken) {
  return {
    apiVersion: "v1",
    kind: "Secret",
    type: TOKEN_TYPE,
    metadata: { name: `${TOKEN_NAME}${tokenId}`, namespace: NAMESPACE, labels: { [NODE_MARK]: nodeId, [ADOPTION_LABEL]: adoption } },
    stringData: {
      "token-id": tokenId,
      "token-secret": secret.reveal(),
      // Kubernetes reads RFC 3339 without fractions here.
      expiration: new Date(expiresAtMs).toISOString().replace(/\.\d+Z$/, "Z"),
      "usage-bootstrap-authentication": "true",
      "usage-bootstrap-signing": "true",
      "auth-extra-groups": TOKEN_GROUP,
      description,
    },
  };
}

/** @throws TypeError when the server sent something else */
export function textOf(value: unknown): string {
  return wholeTextOf(value).slice(0, MAX_TEXT);
}

/** @throws TypeError when the server sent something else */
function wholeTextOf(value: unknown): string {
  if (typeof value !== "string" || value === "") throw new TypeError("no text");
  return value;
}

export function projected({ metadata, spec, status }: V1Node): ClusterNode {
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  const annotations = Object.entries(metadata?.annotations ?? {}).filter(([key]) => key.startsWith(ANNOTATIONS));
  return {
    name: textOf(metadata?.name),
    uid: metadata?.uid ?? "",
    resourceVersion: metadata?.resourceVersion ?? "",
    createdAtMs: metadata?.creationTimestamp?.getTime() ?? 0,
    ready: ready?.status === "True" || ready?.status === "False" ? ready.status : "Unknown",
    reason: ready?.reason ?? "",
    message: (ready?.message ?? "").slice(0, MAX_TEXT),
    kubeletVersion: status?.nodeInfo?.kubeletVersion ?? "",
    labels: metadata?.labels ?? {},
    isUnschedulable: spec?.unschedulable === true,
    annotations: Object.fromEntries(annotations),
    taints: (spec?.taints ?? []).map(({ key, value, effect, timeAdded }) => ({
      key: wholeTextOf(key),
      value: value ?? "",
      effect: wholeTextOf(effect),
      ...(timeAdded === undefined ? {} : { timeAdded: rfc3339(timeAdded) }),
    })),
  };
}

const MIRROR_ANNOTATION = "kubernetes.io/config.mirror";

export function projectedPod({ metadata, status }: V1Pod): ClusterPod {
  return {
    namespace: textOf(metadata?.namespace),
    name: textOf(metadata?.name),
    uid: textOf(metadata?.uid),
    phase: status?.phase ?? "",
    isTerminating: metadata?.deletionTimestamp !== undefined,
    isMirror: metadata?.annotations?.[MIRROR_ANNOTATION] !== undefined,
    controllerKind: metadata?.ownerReferences?.find(({ controller }) => controller === true)?.kind,
  };
}

/** The server tells which budget it was in words only: they are shown, and nothing hangs on them. */
export function heldBy(body: unknown): Eviction {
  const { message, details } = (statusOf(body) ?? {}) as { message?: unknown; details?: { causes?: unknown } };
  const causes: readonly { reason?: unknown; message?: unknown }[] = Array.isArray(details?.causes) ? details.causes : [];
  const cause = causes.find((each) => each?.reason === "DisruptionBudget")?.message;
  const text = typeof cause === "string" ? cause : typeof message === "string" ? message : "too many requests";
  const budget = /^The disruption budget ([-a-z0-9.]{1,253}) /.exec(typeof cause === "string" ? cause : "")?.[1];
  return { outcome: "held", budget, message: text.slice(0, MAX_TEXT) };
}

/** The library calls it a Date with microseconds, and hands over the text that the server sent. */
export function renewTimeMs(renewTime: unknown): number | undefined {
  const atMs = renewTime instanceof Date ? renewTime.getTime() : typeof renewTime === "string" ? Date.parse(renewTime) : Number.NaN;
  return Number.isNaN(atMs) ? undefined : atMs;
}

function rfc3339(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, "Z");
}

/** A Status of Kubernetes, if it is one. */
export function statusOf(body: unknown): unknown {
  try {
    return typeof body === "string" ? JSON.parse(body) : body;
  } catch {
    return undefined;
  }
}
