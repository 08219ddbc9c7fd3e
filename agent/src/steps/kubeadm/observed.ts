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
  JOIN_CONFIG_PATH,
  KUBELET_KUBECONFIG,
  KUBELET_UNIT,
} from "./places.ts";

export interface KubeadmObserved {
  readonly isLive: boolean;
  readonly memory: KubeadmMemory;
  readonly found: FoundMembership;
  readonly isKubeletActive: boolean;
  readonly isControlPlane: boolean;
  /** The file with a bootstrap token is there. */
  readonly isConfigLeft: boolean;
}

export type FoundMembership =
  | { readonly kind: "none" }
  /** Joined half: no cluster has this machine as its node. */
  | { readonly kind: "half"; readonly left: readonly string[] }
  /** caHash as in caCertHashes; undefined: no CA could be read. nodeName as the client certificate tells it. */
  | { readonly kind: "node"; readonly caHash: string | undefined; readonly nodeName: string | undefined };

export async function observeKubeadm(_spec: KubeadmSpec, context: StepContext): Promise<KubeadmObserved> {
  const { host, signal } = context;
  return {
    isLive: host.isLive,
    memory: readMemory(await context.memory.get()),
    found: await findMembership(context),
    isKubeletActive: host.isLive && (await host.units.isActive(KUBELET_UNIT, signal)),
    isControlPlane: (await host.files.stat(API_SERVER_MANIFEST)) !== undefined,
    isConfigLeft: host.isLive && (await host.files.stat(JOIN_CONFIG_PATH)) !== undefined,
  };
}

/** With the bootstrap kubeconfig still there, or without a client certificate, the kubelet has not become a node yet. */
export async function findMembership({ host }: Pick<StepContext, "host">): Promise<FoundMembership> {
  const kubeconfig = (await host.files.read(KUBELET_KUBECONFIG))?.toString("utf8");
  const certificate = await readThroughLink(CLIENT_CERTIFICATE, host);
  const hasBootstrap = (await host.files.stat(BOOTSTRAP_KUBECONFIG)) !== undefined;
  if (kubeconfig !== undefined && certificate !== undefined && !hasBootstrap) {
    const name = commonName(certificate)?.replace(/^system:node:/, "");
    return { kind: "node", caHash: await caHashOf(kubeconfig, host), nodeName: name };
  }
  const left = [
    ...(kubeconfig === undefined ? [] : [KUBELET_KUBECONFIG]),
    ...(hasBootstrap ? [BOOTSTRAP_KUBECONFIG] : []),
    ...(certificate === undefined ? [] : [CLIENT_CERTIFICATE]),
  ];
  return left.length === 0 ? { kind: "none" } : { kind: "half", left };
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
