/** Which pods leave a node that is drained, and what is said of those that do not go. As kubectl drain --force --delete-emptydir-data --ignore-daemonsets. Pure. */
import type { ClusterPod } from "../cluster/cluster-api.ts";

const FINISHED = new Set(["Succeeded", "Failed"]);

/** A DaemonSet's pod comes back at once, a mirror pod is the kubelet's own, a finished one runs no more: all others go, also those that nothing makes anew. */
export function mustLeave({ controllerKind, isMirror, phase }: ClusterPod): boolean {
  return controllerKind !== "DaemonSet" && !isMirror && !FINISHED.has(phase);
}

/** "namespace/name" */
export function podName({ namespace, name }: Pick<ClusterPod, "namespace" | "name">): string {
  return `${namespace}/${name}`;
}

/** Why a pod may not go now. */
export interface Hold {
  /** Name of the PodDisruptionBudget in the pod's namespace; undefined: it is something else. */
  readonly budget: string | undefined;
  readonly message: string;
}

/** What holds a drain up, in one sentence. @param holds by uid of the pod */
export function holdUp(leaving: readonly ClusterPod[], holds: ReadonlyMap<string, Hold>): string {
  const held = leaving.flatMap((pod) => {
    const hold = pod.isTerminating ? undefined : holds.get(pod.uid);
    return hold === undefined ? [] : [{ pod, hold }];
  });
  const going = leaving.length - held.length;
  const [first] = held;
  if (first === undefined) {
    const [pod] = leaving;
    return pod === undefined ? "" : `waits for pod ${podName(pod)} to end${more(leaving.length - 1)}`;
  }
  const others = [
    ...(held.length > 1 ? [plural(held.length - 1, "is", "are", " held, too")] : []),
    ...(going > 0 ? [plural(going, "is", "are", " ending")] : []),
  ];
  return [heldText(first.pod, first.hold), ...others].join("; ");
}

function heldText(pod: ClusterPod, { budget, message }: Hold): string {
  if (budget === undefined) return `pod ${podName(pod)} cannot be evicted now: ${message}`;
  return `PodDisruptionBudget ${pod.namespace}/${budget} allows none of pod ${podName(pod)} to go (${message})`;
}

function more(count: number): string {
  return count === 0 ? "" : `, and for ${count} more`;
}

function plural(count: number, one: string, many: string, rest: string): string {
  return `${count} more ${count === 1 ? one : many}${rest}`;
}
