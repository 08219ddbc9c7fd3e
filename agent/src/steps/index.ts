/** The table of steps: a kind without one does not compile. */
import type { StepKind } from "@drover/proto";
import { containerdStep } from "./containerd/containerd-step.ts";
import { imagesStep } from "./images/images-step.ts";
import type { Step } from "./step.ts";
import { sysctlStep } from "./sysctl/sysctl-step.ts";

export const steps: { readonly [K in StepKind]: Step<K> } = {
  sysctl: sysctlStep,
  containerd: containerdStep,
  images: imagesStep,
};
