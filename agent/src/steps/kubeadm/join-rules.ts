/** What a join may be told at all, whoever made the plan: the coordinator's rules once more, and this machine's own. Pure. */
import { checkKubernetes, kubernetesNodeName } from "@drover/api";
import type { KubeadmSpec } from "@drover/proto";
import type { Refusal } from "../step.ts";

/** kubeadm and the kubelet send pods' secrets through it: a socket of a runtime of this machine, and no other. */
const CRI_SOCKET = /^unix:\/\/\/(var\/)?run\/[A-Za-z0-9_][A-Za-z0-9_.-]*(\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$/;

/** @param hostname of this machine; empty: it is not known, and kubeadm is not told a name then either */
export function refuseToJoinWith(spec: KubeadmSpec, hostname: string): Refusal | undefined {
  const { nodeName, criSocket, nodeLabels, taints, kubeletExtraArgs } = spec;
  const own = kubernetesNodeName({ hostname });
  if (nodeName !== "" && nodeName !== own) {
    const message = `the plan names the Node ${nodeName} and this machine is ${own || "without a name"}: a machine joins under its own name only; set its hostname, or raise rejoin: then the plan takes its present one`;
    return { reason: "NotThisMachine", message };
  }
  if (criSocket !== "" && !CRI_SOCKET.test(criSocket)) {
    const message = `criSocket is ${criSocket}, which must be a socket below unix:///run or unix:///var/run`;
    return { reason: "InvalidSpec", message };
  }
  const [first] = checkKubernetes({ spec: { kubeadm: { nodeLabels, taints, kubeletExtraArgs } } });
  if (first === undefined) return undefined;
  return { reason: "InvalidSpec", message: `${first.path.slice(1).join(".")} ${first.message}: ${first.hint}` };
}
