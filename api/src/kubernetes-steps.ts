/** What a profile and its set's cluster say about kubelet and kubeadm, as specs of a plan. */
import { type Facts, KubeadmSpec, KubeletSpec } from "@drover/proto";
import { canonicalJson, compareText } from "./canonical-json.ts";
import type { Cluster, NodeProfile } from "./objects.ts";

/** Label of a Node in its cluster: the NodeSet it is of. */
export const NODE_SET_LABEL = "drover.dev/node-set";

/** That the nodes of a set belong to a cluster. */
export interface Membership {
  readonly cluster: Cluster;
  readonly nodeSet: string;
  /** How often an operator has asked that this node be reset and join again; of a whole set: 0. */
  readonly rejoin: number;
  /** Its name in the cluster; left out: as its facts say now. */
  readonly nodeName?: string;
}

type KubeletSection = NonNullable<NodeProfile["spec"]["kubelet"]>;
type KubeadmSection = NonNullable<NodeProfile["spec"]["kubeadm"]>;

/** What of a membership moves its nodes when it changes. */
export function membershipContent({ cluster, nodeSet }: Membership): unknown {
  const { endpoint, caCertHashes } = cluster.spec;
  return { cluster: cluster.metadata.name, endpoint, caCertHashes: [...caCertHashes].sort(compareText), nodeSet };
}

export function kubeletSpec({ configuration, parallelImagePulls, maxParallelImagePulls }: KubeletSection): KubeletSpec {
  return KubeletSpec.create({
    configuration: configuration === undefined ? "" : canonicalJson(configuration),
    parallelImagePulls,
    maxParallelImagePulls: maxParallelImagePulls ?? 0,
  });
}

export function kubeadmSpec(section: KubeadmSection | undefined, membership: Membership, facts: Facts | undefined): KubeadmSpec {
  const { cluster, rejoin } = membership;
  return KubeadmSpec.create({
    cluster: cluster.metadata.name,
    endpoint: cluster.spec.endpoint,
    caCertHashes: [...cluster.spec.caCertHashes].sort(compareText),
    nodeLabels: nodeLabels(section, membership),
    taints: nodeTaints(section),
    nodeName: membership.nodeName ?? kubernetesNodeName(facts),
    criSocket: section?.criSocket ?? "",
    kubeletExtraArgs: sorted(section?.kubeletExtraArgs ?? {}),
    ignorePreflightErrors: section?.ignorePreflightErrors ?? [],
    skipPhases: section?.skipPhases ?? [],
    rejoin,
  });
}

/** Labels that the Node of a member is to have in its cluster. */
export function nodeLabels(section: KubeadmSection | undefined, { nodeSet }: Pick<Membership, "nodeSet">): Record<string, string> {
  return sorted({ ...section?.nodeLabels, [NODE_SET_LABEL]: nodeSet });
}

/** Taints that the Node of a member is to have in its cluster, besides those that Kubernetes itself puts on. */
export function nodeTaints(section: KubeadmSection | undefined): { key: string; value: string; effect: string }[] {
  const taints = (section?.taints ?? []).map(({ key, value, effect }) => ({ key, value, effect }));
  return taints.sort((a, b) => compareText(a.key, b.key) || compareText(a.effect, b.effect));
}

/** As kubeadm names a Node by default; empty: not known yet. */
export function kubernetesNodeName(facts: Pick<Facts, "hostname"> | undefined): string {
  return facts?.hostname.trim().toLowerCase() ?? "";
}

function sorted(entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).sort(([a], [b]) => compareText(a, b)));
}
