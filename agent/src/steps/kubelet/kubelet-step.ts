/** kubelet: refused until its step is there. */
import type { Step } from "../step.ts";

export const kubeletStep: Step<"kubelet"> = {
  kind: "kubelet",
  emptySpec: { configuration: "", parallelImagePulls: false, maxParallelImagePulls: 0 },
  observe: () => Promise.resolve(undefined),
  refuse: () => ({ reason: "Unsupported", message: "this agent cannot do kubelet yet" }),
  diff: () => [],
  conditions: () => [],
  apply: () => Promise.resolve(),
};
