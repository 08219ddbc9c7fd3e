/** Adopted Kubernetes clusters as the rest of the coordinator needs them: credentials for joining, what their own API says of our nodes. */
import type { Cluster, Node } from "@drover/api";
import type { Secret } from "@drover/lifecycle";
import type { Refusal } from "../refusal.ts";
import type { ControlPlaneNode } from "./cluster-watch.ts";
import type { ClusterApi, DrainingApi } from "./cluster-api.ts";

export interface JoinCredentialWanted {
  readonly nodeId: string;
  /** metadata.name, as the node's plan names it. */
  readonly cluster: string;
  readonly generation: number;
}

export type JoinCredentialAnswer = { readonly ok: true; readonly token: Secret; readonly expiresAtMs: number } | Refusal;

export interface AdoptRequest {
  readonly name: string;
  /** Where nodes reach the API server, "host:port"; empty: as the Cluster object says already, for a new one as in the kubeconfig. */
  readonly endpoint: string;
  readonly kubeconfig: Secret;
  /** As in the audit log. */
  readonly actor: string;
}

export type AdoptAnswer =
  | { readonly ok: true; readonly outcome: "created" | "configured" | "unchanged"; readonly warnings: readonly string[] }
  | Refusal;

export interface Clusters {
  /** Until the signal aborts: readiness, labels and taints, sweeps. */
  run(signal: AbortSignal): Promise<void>;
  /** Mints a bootstrap token for a node whose decided plan joins it to that cluster; whatever was minted for it before is deleted first. */
  joinCredential(wanted: JoinCredentialWanted, signal: AbortSignal): Promise<JoinCredentialAnswer>;
  /** Stores the kubeconfig encrypted and makes or renews the Cluster object, after the cluster has answered; in one commit with its audit record. */
  adopt(request: AdoptRequest, signal: AbortSignal): Promise<AdoptAnswer>;
  /** Computed, never stored. */
  statusOf(clusterName: string): NonNullable<Cluster["status"]>;
  /** undefined: it is in no cluster that is known. */
  kubernetesNodeOf(nodeId: string): NonNullable<Node["status"]>["kubernetes"];
  /** Since when, in Unix milliseconds, it has been as Ready as it is; for people. */
  readySinceMs(nodeId: string): number | undefined;
  /** When asking its cluster began, in Unix milliseconds, the last time that it answered: what kubernetesNodeOf says was so at some time after it. */
  readAtMs(nodeId: string): number | undefined;
  /** Somebody waits for what the cluster says next: for half a minute it is asked as often as while nodes join. */
  readSoon(clusterName: string): void;
  /** All control planes of the cluster, ours or not; undefined: it has not said, or not lately. */
  controlPlanesOf(clusterName: string): readonly ControlPlaneNode[] | undefined;
  /** To read of its nodes and leases; undefined: it has no usable kubeconfig. Contacts nobody. */
  readingApiOf(clusterName: string): Promise<Pick<ClusterApi, "node" | "lease"> | undefined>;
  /** To cordon and drain its nodes; of a cluster that was given up, by the kubeconfig that it had while this process was there. Contacts nobody. */
  drainingApiOf(clusterName: string): Promise<{ readonly ok: true; readonly api: DrainingApi } | Refusal>;
  /** Called with a node id when what kubernetesNodeOf says of it changed. @returns what takes the listener away */
  onChange(listen: (nodeId: string) => void): () => void;
}
