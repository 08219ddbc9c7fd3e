/** The table of steps: a kind without one does not compile. In the order of a plan; what a plan no longer names is put back in reverse. */
import type { StepKind } from "@drover/proto";
import { binariesStep } from "./binaries/binaries-step.ts";
import { containerdStep } from "./containerd/containerd-step.ts";
import { imagesStep } from "./images/images-step.ts";
import { kernelModulesStep } from "./kernel-modules/kernel-modules-step.ts";
import { kubeadmStep } from "./kubeadm/kubeadm-step.ts";
import { kubeletStep } from "./kubelet/kubelet-step.ts";
import type { Step } from "./step.ts";
import { swapStep } from "./swap/swap-step.ts";
import { sysctlStep } from "./sysctl/sysctl-step.ts";

export const steps: { readonly [K in StepKind]: Step<K> } = {
  binaries: binariesStep,
  kernelModules: kernelModulesStep,
  sysctl: sysctlStep,
  swap: swapStep,
  containerd: containerdStep,
  images: imagesStep,
  kubelet: kubeletStep,
  kubeadm: kubeadmStep,
};
