/** All that the kubeadm step looks at: whose node this machine is, and what is remembered of that. */
import type { KubeadmSpec } from "@drover/proto";
import { commonName, publicKeyHash } from "../../format/certificate.ts";
import { isPlainTable, parseYamlTable } from "../../format/yaml.ts";
import type { StepContext } from "../step.ts";
import { type KubeadmMemory, readMemory } from "./memory.ts";
import {
  API_SERVER_MANIFEST,
  BOOTSTRAP_KUBECONFIG,
  CLIENT_CERTIFICATE,
  CLUSTER_CA,
  ETCD_MANIFEST,
  JOIN_CONFIG_PATH,
  KUBELET_CONFIG,
  KUBELET_KUBECONFIG,
  KUBELET_UNIT,
  MANIFESTS_DIRECTORY,
} from "./places.ts";

export interface KubeadmObserved {
  readonly isLive: boolean;
  readonly memory: KubeadmMemory;
  readonly found: FoundMembership;
  readonly isKubeletActive: boolean;
  readonly isControlPlane: boolean;
  /** Pods that the kubelet runs by files, of whichever cluster or of none. */
  readonly staticPods: readonly string[];
  /** The kubelet has its configuration. */
  readonly isKubeletConfigured: boolean;
  /** Of this machine; empty: it has none. */
  readonly hostname: string;
  /** The file with a bootstrap token is there. */
  readonly isConfigLeft: boolean;
}

export type FoundMembership =
  /** caHash of the CA that a node which lost all its credentials still has; undefined: there is none, or it cannot be read. */
  | { readonly kind: "none"; readonly caHash: string | undefined }
  /** Not whole as kubeadm leaves a node: a join that did not end, or a node that was made another way. */
  | { readonly kind: "half"; readonly left: readonly string[]; readonly caHash: string | undefined }
  /** caHash as in caCertHashes; undefined: no CA could be read. nodeName and nodeKey as the client certificate tells them. */
  | {
      readonly kind: "node";
      readonly caHash: string | undefined;
      readonly nodeName: string | undefined;
      readonly nodeKey: string | undefined;
    };

export async function observeKubeadm(_spec: KubeadmSpec, context: StepContext): Promise<KubeadmObserved> {
  const { host, signal } = context;
  return {
    isLive: host.isLive,
    memory: readMemory(await context.memory.get()),
    found: await findMembership(context),
    isKubeletActive: host.isLive && (await host.units.isActive(KUBELET_UNIT, signal)),
    isControlPlane: await isControlPlane(context),
    staticPods: (await host.files.list(MANIFESTS_DIRECTORY)).filter((name) => !name.startsWith(".")),
    isKubeletConfigured: (await host.files.stat(KUBELET_CONFIG)) !== undefined,
    hostname: (await host.kernel.readSysctl("kernel.hostname")) ?? "",
    isConfigLeft: host.isLive && (await host.files.stat(JOIN_CONFIG_PATH)) !== undefined,
  };
}

/** An etcd alone is one too: the members of an external one run by static pods. */
export async function isControlPlane({ host }: Pick<StepContext, "host">): Promise<boolean> {
  for (const path of [API_SERVER_MANIFEST, ETCD_MANIFEST]) if ((await host.files.stat(path)) !== undefined) return true;
  return false;
}

/** With the bootstrap kubeconfig still there, or without a client certificate, the kubelet has not become a node yet. */
export async function findMembership({ host }: Pick<StepContext, "host">): Promise<FoundMembership> {
  const kubeconfig = (await host.files.read(KUBELET_KUBECONFIG))?.toString("utf8");
  const certificate = await readThroughLink(CLIENT_CERTIFICATE, host);
  const hasBootstrap = (await host.files.stat(BOOTSTRAP_KUBECONFIG)) !== undefined;
  if (kubeconfig !== undefined && certificate !== undefined && !hasBootstrap) {
    const name = commonName(certificate)?.replace(/^system:node:/, "");
    return { kind: "node", caHash: await caHashOf(kubeconfig, host), nodeName: name, nodeKey: publicKeyHash(certificate) };
  }
  const left = [
    ...(kubeconfig === undefined ? [] : [KUBELET_KUBECONFIG]),
    ...(hasBootstrap ? [BOOTSTRAP_KUBECONFIG] : []),
    ...(certificate === undefined ? [] : [CLIENT_CERTIFICATE]),
  ];
  if (left.length === 0) return { kind: "none", caHash: publicKeyHash((await host.files.read(CLUSTER_CA))?.toString("utf8") ?? "") };
  const told = kubeconfig ?? (await host.files.read(BOOTSTRAP_KUBECONFIG))?.toString("utf8") ?? "";
  return { kind: "half", left, caHash: await caHashOf(told, host) };
}

/** The kubelet keeps a link to its newest certificate. */
async function readThroughLink(path: string, host: StepContext["host"]): Promise<string | undefined> {
  const target = await host.files.readLink(path);
  const directory = path.slice(0, path.lastIndexOf("/"));
  const real = target === undefined ? path : target.startsWith("/") ? target : `${directory}/${target}`;
  return (await host.files.read(real))?.toString("utf8");
}

/** kubeadm embeds the CA; a kubeconfig made by hand may name its file. */
async function caHashOf(kubeconfig: string, host: StepContext["host"]): Promise<string | undefined> {
  const parsing = parseYamlTable(kubeconfig);
  const clusters = parsing.ok ? parsing.table["clusters"] : undefined;
  const first: unknown = Array.isArray(clusters) ? clusters[0] : undefined;
  const cluster = isPlainTable(first) ? first["cluster"] : undefined;
  if (!isPlainTable(cluster)) return undefined;
  const inline = cluster["certificate-authority-data"];
  if (typeof inline === "string") return publicKeyHash(Buffer.from(inline, "base64").toString("utf8"));
  const path = cluster["certificate-authority"];
  if (typeof path !== "string" || !path.startsWith("/")) return undefined;
  return publicKeyHash((await host.files.read(path))?.toString("utf8") ?? "");
}

export function isOf(caHash: string | undefined, hashes: readonly string[]): boolean {
  return caHash !== undefined && hashes.includes(caHash);
}
