/** kubeadm: refused until its step is there. */
import type { Step } from "../step.ts";

export const kubeadmStep: Step<"kubeadm"> = {
  kind: "kubeadm",
  emptySpec: {
    cluster: "",
    endpoint: "",
    caCertHashes: [],
    nodeLabels: {},
    taints: [],
    nodeName: "",
    criSocket: "",
    kubeletExtraArgs: {},
    ignorePreflightErrors: [],
    skipPhases: [],
    rejoin: 0,
  },
  observe: () => Promise.resolve(undefined),
  refuse: () => ({ reason: "Unsupported", message: "this agent cannot do kubeadm yet" }),
  diff: () => [],
  conditions: () => [],
  apply: () => Promise.resolve(),
};
