/** Whether changes of a step may cut the node off, so that they are tried and need a confirmation (I4). Pure. */
import type { Change, Plan, SpecOf, StepKind } from "@drover/proto";

/** Without one of them the node runs nothing, or is told nothing. */
const LIFELINES: ReadonlySet<string> = new Set(["containerd.service", "kubelet.service"]);

/** What takes as long as a network or a cluster takes is not waited for by what is to be confirmed: it would be undone though all is well. */
export function takesLong(kind: StepKind): boolean {
  return kind === "images" || kind === "kubeadm";
}

/** @param plans what the step comes from and goes to */
export function canCutOff(kind: StepKind, changes: readonly Change[], plans: readonly (Plan | undefined)[]): boolean {
  switch (kind) {
    case "containerd":
    case "kubelet":
      return true;
    case "sysctl":
      return changes.some(({ path }) => path.startsWith("net."));
    case "binaries":
      return plans.some((plan) => restartsLifeline(plan));
    case "kernelModules":
    case "swap":
    case "images":
    case "kubeadm":
      return false;
  }
}

function restartsLifeline(plan: Plan | undefined): boolean {
  const spec = plan?.steps.find((step) => step.spec?.$case === "binaries")?.spec?.value as SpecOf<"binaries"> | undefined;
  return (spec?.binaries ?? []).some(({ restarts }) => restarts.some((unit) => LIFELINES.has(unit)));
}
