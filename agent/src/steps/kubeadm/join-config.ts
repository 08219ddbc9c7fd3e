/**
 * The JoinConfiguration that kubeadm is given, and the flags beside it. Pure.
 * Field names: cmd/kubeadm/app/apis/kubeadm/<version>/types.go, v1beta2 as in 1.20.2, v1beta3, and v1beta4 in a state before 1.31 (its
 * JoinConfiguration, BootstrapTokenDiscovery and Arg in the reference of 1.31 too). v1beta2 has neither skipPhases nor patches; kubeadm
 * 1.20.2 takes --skip-phases beside --config. The patch target kubeletconfiguration is of 1.25 (#110405): 1.24 skips such a file.
 */
import type { KubeadmSpec } from "@drover/proto";
import { isAtLeast, type KubeadmApi, type KubernetesVersion } from "./versions.ts";

/** kubeadm waits five minutes for a token that is not there any more; a new one is made in seconds. */
const DISCOVERY_TIMEOUT = "2m0s";

export const DEFAULT_CRI_SOCKET = "unix:///run/containerd/containerd.sock";

export interface JoinSurroundings {
  readonly version: KubernetesVersion;
  readonly api: KubeadmApi;
  /** With patches of the kubelet step; undefined: none. */
  readonly patchesDirectory: string | undefined;
}

/** @param token of the cluster; the text that comes back is as secret as it is. JSON, which is YAML. */
export function joinConfiguration(spec: KubeadmSpec, token: string, { version, api, patchesDirectory }: JoinSurroundings): string {
  const hasPhasesAndPatches = api !== "v1beta2";
  const configuration = {
    apiVersion: `kubeadm.k8s.io/${api}`,
    kind: "JoinConfiguration",
    discovery: {
      bootstrapToken: { token, apiServerEndpoint: spec.endpoint, caCertHashes: spec.caCertHashes },
      ...(api === "v1beta4" ? {} : { timeout: DISCOVERY_TIMEOUT }),
    },
    ...(api === "v1beta4" ? { timeouts: { discovery: DISCOVERY_TIMEOUT } } : {}),
    nodeRegistration: {
      ...(spec.nodeName === "" ? {} : { name: spec.nodeName }),
      criSocket: criSocketFor(spec.criSocket, version),
      // Said even when there are none: what is left out is kubeadm's to choose.
      taints: spec.taints.map(({ key, value, effect }) => ({ key, ...(value === "" ? {} : { value }), effect })),
      kubeletExtraArgs: extraArguments(spec, api),
      ...(spec.ignorePreflightErrors.length === 0 ? {} : { ignorePreflightErrors: spec.ignorePreflightErrors }),
    },
    ...(hasPhasesAndPatches && spec.skipPhases.length > 0 ? { skipPhases: spec.skipPhases } : {}),
    ...(hasPhasesAndPatches && patchesDirectory !== undefined && isAtLeast(version, 25)
      ? { patches: { directory: patchesDirectory } }
      : {}),
  };
  return `${JSON.stringify(configuration, null, 2)}\n`;
}

/** @param configPath of the file with joinConfiguration's text */
export function joinArguments(spec: KubeadmSpec, configPath: string, api: KubeadmApi): readonly string[] {
  const phases = api === "v1beta2" && spec.skipPhases.length > 0 ? [`--skip-phases=${spec.skipPhases.join(",")}`] : [];
  return ["join", `--config=${configPath}`, ...phases];
}

export function resetArguments(criSocket: string, version: KubernetesVersion): readonly string[] {
  return ["reset", "--force", `--cri-socket=${criSocketFor(criSocket, version)}`];
}

/** Before 1.24 kubeadm's own default is a plain path, and it hands what it gets to crictl and the kubelet as it is. */
function criSocketFor(criSocket: string, version: KubernetesVersion): string {
  const socket = criSocket === "" ? DEFAULT_CRI_SOCKET : criSocket;
  return isAtLeast(version, 24) ? socket : socket.replace(/^unix:\/\//, "");
}

/** Of flags that are given twice, which only v1beta4 could say, there are none here. */
function extraArguments(spec: KubeadmSpec, api: KubeadmApi): unknown {
  const labels = Object.entries(spec.nodeLabels)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`);
  const own = spec.kubeletExtraArgs["node-labels"];
  const nodeLabels = [...(own === undefined || own === "" ? [] : [own]), ...labels].join(",");
  const flags = { ...spec.kubeletExtraArgs, ...(nodeLabels === "" ? {} : { "node-labels": nodeLabels }) };
  const sorted = Object.entries(flags).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return api === "v1beta4" ? sorted.map(([name, value]) => ({ name, value })) : Object.fromEntries(sorted);
}
