/** The API of a Kubernetes cluster, as far as the coordinator needs it. Every call has a deadline of its own and throws ClusterApiError only. */
import type { Secret } from "@drover/lifecycle";

export type ClusterApiErrorCode = "Unreachable" | "Unauthorized" | "Forbidden" | "NotFound" | "Conflict" | "Failed";

export class ClusterApiError extends Error {
  override readonly name = "ClusterApiError";
  readonly code: ClusterApiErrorCode;

  constructor(code: ClusterApiErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface NewBootstrapToken {
  /** 6 characters. */
  readonly tokenId: string;
  /** 16 characters. */
  readonly secret: Secret;
  readonly expiresAtMs: number;
  readonly description: string;
  readonly nodeId: string;
  /** Whose it is: the uid of the Cluster object; two coordinators may have adopted one cluster. */
  readonly adoption: string;
}

export interface ClusterTaint {
  readonly key: string;
  readonly value: string;
  readonly effect: string;
}

/** As much of a Node as is looked at. */
export interface ClusterNode {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly createdAtMs: number;
  readonly ready: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly kubeletVersion: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Nothing new is scheduled there: it is cordoned. */
  readonly isUnschedulable: boolean;
  /** Those of drover.dev/ only. */
  readonly annotations: Readonly<Record<string, string>>;
  /** With every field that the API server gave. */
  readonly taints: readonly ClusterTaint[];
}

export interface ClusterLease {
  /** When its holder renewed it last, by the holder's clock; undefined: it never did. */
  readonly renewTimeMs: number | undefined;
}

/** What of a Node is to be otherwise; null: is to go. */
export interface NodePatch {
  /** It must still be at this one, else Conflict. */
  readonly resourceVersion: string;
  readonly labels: Readonly<Record<string, string | null>>;
  readonly annotations: Readonly<Record<string, string | null>>;
  /** All of them; undefined: as they are. */
  readonly taints: readonly ClusterTaint[] | undefined;
  /** undefined: as it is. */
  readonly isUnschedulable?: boolean;
}

/** As much of a Pod as is looked at when its Node is drained. */
export interface ClusterPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly phase: string;
  /** It is being deleted, and there until its kubelet has ended it. */
  readonly isTerminating: boolean;
  /** Made by the kubelet itself of a file: nobody else can end it. */
  readonly isMirror: boolean;
  /** Kind of its controller; undefined: it has none, and nothing makes it anew. */
  readonly controllerKind: string | undefined;
}

export type Eviction =
  | { readonly outcome: "evicted" | "gone" }
  /** Not now. budget: name of the PodDisruptionBudget that does not let it go; undefined: the server has another reason, told in message. */
  | { readonly outcome: "held"; readonly budget: string | undefined; readonly message: string };

export interface ClusterApi {
  /** "v1.31.2" */
  version(signal: AbortSignal): Promise<string>;
  /** What we need and may not, one sentence each. */
  missingAccess(signal: AbortSignal): Promise<readonly string[]>;
  createBootstrapToken(token: NewBootstrapToken, signal: AbortSignal): Promise<void>;
  /** One that is not there is gone already. */
  deleteBootstrapToken(tokenId: string, signal: AbortSignal): Promise<void>;
  /** Ids of the tokens that were made for this adoption. */
  bootstrapTokens(adoption: string, signal: AbortSignal): Promise<readonly string[]>;
  nodes(signal: AbortSignal): Promise<readonly ClusterNode[]>;
  /** undefined: there is none. */
  node(name: string, signal: AbortSignal): Promise<ClusterNode | undefined>;
  /** undefined: there is none. */
  lease(lease: { readonly namespace: string; readonly name: string }, signal: AbortSignal): Promise<ClusterLease | undefined>;
  patchNode(name: string, patch: NodePatch, signal: AbortSignal): Promise<void>;
  /** All that are bound to that Node, in all namespaces. */
  podsOf(nodeName: string, signal: AbortSignal): Promise<readonly ClusterPod[]>;
  /** Asks that it be ended with its own grace period, as far as PodDisruptionBudgets let it go; only while it is that very one. */
  evict(pod: Pick<ClusterPod, "namespace" | "name" | "uid">, signal: AbortSignal): Promise<Eviction>;
  /** Only while it is that very one; one that is not there is gone already. */
  deleteNode(node: Pick<ClusterNode, "name" | "uid">, signal: AbortSignal): Promise<void>;
  /** Lets its connections go. */
  close(): Promise<void>;
}

/** What cordoning and draining need. */
export type DrainingApi = Pick<ClusterApi, "node" | "nodes" | "patchNode" | "podsOf" | "evict">;

/** Label of a bootstrap token's Secret, and annotation of a Node: the id of the node that it is for. */
export const NODE_MARK = "drover.dev/node";
export const ADOPTION_LABEL = "drover.dev/adoption";
/** Annotation of a Node: which labels and taints on it are ours. */
export const MANAGED_ANNOTATION = "drover.dev/managed";
/** Annotation of a Node: we made it unschedulable, for the node with this id. */
export const CORDON_ANNOTATION = "drover.dev/cordoned";
