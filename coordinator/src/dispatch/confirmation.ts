/** Whether a change can cut its node off, so that the node has to undo it unless we confirm it (I4). Pure. */
import type { StepImpact } from "@drover/api";
import type { Binary, KubeadmSpec, SpecOf, Step, StepKind } from "@drover/proto";
import { stepImpactsOnce } from "./step-impacts-once.ts";

/** Without one of them the node runs nothing, or is told nothing. */
const LIFELINES: ReadonlySet<string> = new Set(["containerd.service", "kubelet.service"]);

/**
 * @param before what the node is known to enforce; undefined: not known
 * @param left what a plan that did not come to its end may have left on the node, to be put back; empty: nothing
 * @param isMember whether the node says that it is in its cluster
 */
export function needsConfirmation(
  before: readonly Step[] | undefined,
  left: readonly Step[],
  after: readonly Step[],
  isMember: boolean,
): boolean {
  const changed = [...stepImpactsOnce(before, after), ...(left.length === 0 ? [] : stepImpactsOnce(left, after))];
  // Nothing undoes that a node joined its cluster or left it.
  if (stepImpactsOnce(before ?? left, after).some((step) => changesMembership(step, isMember))) return false;
  if (after.some((step) => specIn("kubeadm", step) !== undefined) && !isMember) return false;
  return changed.some(canCutOff);
}

function canCutOff({ kind, before, after }: StepImpact): boolean {
  switch (kind) {
    case "containerd":
    case "kubelet":
      return true;
    case "sysctl":
      return changedKeys(specIn(kind, before)?.values ?? {}, specIn(kind, after)?.values ?? {}).some((key) => key.startsWith("net."));
    case "binaries":
      return changedBinaries(specIn(kind, before)?.binaries ?? [], specIn(kind, after)?.binaries ?? []).some(({ restarts }) =>
        restarts.some((unit) => LIFELINES.has(unit)),
      );
    case "kubeadm":
    case "kernelModules":
    case "swap":
    case "images":
    case undefined:
      return false;
  }
}

function changesMembership({ kind, before, after }: StepImpact, isMember: boolean): boolean {
  if (kind !== "kubeadm") return false;
  const [was, is] = [specIn(kind, before), specIn(kind, after)];
  return !isMember || membershipOf(was) !== membershipOf(is);
}

function membershipOf(spec: KubeadmSpec | undefined): string {
  return spec === undefined ? "" : JSON.stringify([spec.cluster, spec.rejoin, spec.nodeName, spec.caCertHashes]);
}

function changedKeys(before: Readonly<Record<string, string>>, after: Readonly<Record<string, string>>): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => before[key] !== after[key]);
}

/** Both what goes and what comes: switching back restarts what the old one named. */
function changedBinaries(before: readonly Binary[], after: readonly Binary[]): readonly Binary[] {
  const texts = (binaries: readonly Binary[]): ReadonlySet<string> => new Set(binaries.map((binary) => JSON.stringify(binary)));
  const [old, young] = [texts(before), texts(after)];
  return [...before.filter((binary) => !young.has(JSON.stringify(binary))), ...after.filter((binary) => !old.has(JSON.stringify(binary)))];
}

function specIn<K extends StepKind>(kind: K, step: Step | undefined): SpecOf<K> | undefined {
  return step?.spec?.$case === kind ? (step.spec.value as SpecOf<K> | undefined) : undefined;
}
