/** What must be done so that the machine is a node of the cluster of its spec, and of no other. Pure. */
import { type Change, Impact, type KubeadmSpec } from "@drover/proto";
import type { Refusal, StepCondition } from "../step.ts";
import { refuseToJoinWith } from "./join-rules.ts";
import type { Member } from "./memory.ts";
import { type FoundMembership, isOf, type KubeadmObserved } from "./observed.ts";
import { KUBELET_CONFIG, KUBELET_UNIT, MANIFESTS_DIRECTORY } from "./places.ts";

export type Way =
  | { readonly kind: "nothing" }
  | { readonly kind: "start-kubelet" }
  /** A machine half joined by us runs nothing that would be lost. */
  | { readonly kind: "join"; readonly isCleanedFirst: boolean }
  | { readonly kind: "rejoin"; readonly why: string }
  | { readonly kind: "leave" };

/** Of what is not refused, once no kubeadm is under way. */
export function wayTo(spec: KubeadmSpec, { found, memory, isKubeletActive }: KubeadmObserved): Way {
  const joined = memory.member === undefined || !isNodeOf(found, memory.member) ? undefined : memory.member;
  const isHalfOurs = found.kind === "half" && memory.begun !== undefined && isNodeOf(found, memory.begun);
  if (spec.cluster === "") return joined === undefined && !isHalfOurs ? { kind: "nothing" } : { kind: "leave" };
  if (found.kind === "none" && joined !== undefined) return { kind: "rejoin", why: "all credentials of its kubelet are gone" };
  if (found.kind === "none") return { kind: "join", isCleanedFirst: false };
  if (isHalfOurs || (found.kind === "half" && memory.job?.kind === "reset")) return { kind: "join", isCleanedFirst: true };
  if (found.kind === "half") {
    if (joined === undefined) return { kind: "nothing" };
    return { kind: "rejoin", why: `it is not whole any more, there is only ${found.left.join(", ")}` };
  }
  if (!isOf(found.caHash, spec.caCertHashes)) return { kind: "rejoin", why: "it is a node of another cluster, which Drover joined" };
  const rejoin = joined?.rejoin ?? 0;
  if (rejoin < spec.rejoin) return { kind: "rejoin", why: "an operator asked for it" };
  const name = joined?.nodeName ?? "";
  if (name !== "" && spec.nodeName !== "" && name !== spec.nodeName) {
    return { kind: "rejoin", why: `the Node is named ${name} and is to be ${spec.nodeName}` };
  }
  return isKubeletActive ? { kind: "nothing" } : { kind: "start-kubelet" };
}

/**
 * What is found bears the CA of the cluster that we joined; a half join may have none yet, a node without a readable one may be anybody's.
 * A reset, whoever did it, takes the CA away: a machine that has it and nothing else is a node that lost its credentials.
 */
function isNodeOf(found: FoundMembership, { caCertHashes }: Member): boolean {
  return isOf(found.caHash, caCertHashes) || (found.kind === "half" && found.caHash === undefined);
}

export function refuseKubeadm(spec: KubeadmSpec, observed: KubeadmObserved): Refusal | undefined {
  const { found, memory, isControlPlane, isLive } = observed;
  if (!isLive) return { reason: "NotLive", message: "a machine joins a cluster when it runs; this is an image" };
  const isUnsettled = memory.job !== undefined || memory.failure !== undefined;
  if (spec.cluster === "" && memory.member === undefined && memory.begun === undefined && !isUnsettled) return undefined;
  if (isControlPlane) {
    const message =
      "this machine runs a control plane (there is a manifest of kube-apiserver or etcd), which is never joined or reset by a plan";
    return { reason: "ControlPlaneNode", message };
  }
  if (spec.cluster === "") return undefined;
  if (spec.endpoint === "" || spec.caCertHashes.length === 0) {
    return { reason: "IncompleteSpec", message: `the plan tells no endpoint or no CA hash of cluster ${spec.cluster}` };
  }
  // What is under way or failed is ours, and what there is of it is told by settling it.
  if (isUnsettled) return undefined;
  const way = wayTo(spec, observed).kind;
  const invalid = way === "join" || way === "rejoin" ? refuseToJoinWith(spec, observed.hostname) : undefined;
  if (invalid !== undefined) return invalid;
  if (found.kind !== "node" && way !== "rejoin") return refuseUnjoined(observed);
  if (found.kind !== "node" || isOf(found.caHash, spec.caCertHashes) || isOf(found.caHash, memory.member?.caCertHashes ?? [])) {
    return undefined;
  }
  const message =
    `this machine is a node of another cluster than ${spec.cluster} (its CA is ${found.caHash ?? "unreadable"}), and Drover did not ` +
    "join it: take it out of that cluster by hand (drain, kubeadm reset), or leave it there";
  return { reason: "JoinedToAnotherCluster", message };
}

/** A failed join is reset, which takes away all that a kubelet runs and has: so nothing of it may be there before. */
function refuseUnjoined({ found, memory, staticPods, isKubeletActive, isKubeletConfigured }: KubeadmObserved): Refusal | undefined {
  if (found.kind === "half" && (memory.begun === undefined || !isNodeOf(found, memory.begun))) {
    const message =
      `this machine looks like a node, but not as kubeadm leaves one (there is ${found.left.join(", ")}), and no join of Drover left ` +
      "that: make it whole, or take it back by hand (kubeadm reset)";
    return { reason: "HalfJoinedNotByUs", message };
  }
  if (staticPods.length > 0) {
    const message = `there is ${staticPods.slice(0, 3).join(", ")} in ${MANIFESTS_DIRECTORY}: a join that fails would take static pods away; remove them first`;
    return { reason: "StaticPodsPresent", message };
  }
  if (memory.begun === undefined && isKubeletActive && isKubeletConfigured) {
    const message = `${KUBELET_UNIT} runs with a configuration of its own and for no cluster: stop it and remove ${KUBELET_CONFIG} first`;
    return { reason: "KubeletInUse", message };
  }
  return undefined;
}

export function kubeadmChanges(spec: KubeadmSpec, observed: KubeadmObserved): readonly Change[] {
  const { memory, isConfigLeft } = observed;
  const change = (path: string, from: string, to: string, impact: Impact, note = ""): Change => ({ path, from, to, impact, note });
  const changes: Change[] = [];
  if (memory.job !== undefined || memory.failure !== undefined) {
    const from = memory.job === undefined ? "join failed" : `${memory.job.kind} under way`;
    const note = "it is waited for; what a failed join left is taken away";
    changes.push(change("kubeadm", from, "settled", Impact.IMPACT_RESTART, note));
  } else if (isConfigLeft) {
    changes.push(change("kubeadm configuration", "left", "", Impact.IMPACT_LIVE, "left behind when the agent stopped"));
  }
  const way = wayTo(spec, observed);
  const present = nameOf(spec, observed);
  switch (way.kind) {
    case "nothing":
      return changes;
    case "start-kubelet":
      return [...changes, change("kubelet.service", "inactive", "active", Impact.IMPACT_RESTART)];
    case "join":
      return [
        ...changes,
        change(
          "cluster",
          present,
          spec.cluster,
          Impact.IMPACT_RESTART,
          way.isCleanedFirst ? "what is left of half a join is taken away first" : "",
        ),
      ];
    case "rejoin":
      return [...changes, change("cluster", present, spec.cluster, Impact.IMPACT_DRAIN, `reset, then joined: ${way.why}`)];
    case "leave":
      return [...changes, change("cluster", present, "", Impact.IMPACT_DRAIN, "left the plan: reset")];
  }
}

export function joinedCondition(spec: KubeadmSpec, observed: KubeadmObserved): StepCondition {
  const { found, memory, isKubeletActive } = observed;
  const condition = (status: StepCondition["status"], reason: string, message: string): StepCondition => ({
    type: "Joined",
    status,
    reason,
    message,
  });
  if (!observed.isLive) return condition("Unknown", "NotRunning", "this is an image, not a running system");
  if (memory.job !== undefined)
    return condition("False", memory.job.kind === "join" ? "Joining" : "Resetting", `${memory.job.unit} is under way`);
  if (found.kind === "none" && memory.member !== undefined && isNodeOf(found, memory.member))
    return condition("False", "CredentialsLost", `a node of cluster ${memory.member.cluster} whose kubelet has no credentials any more`);
  if (found.kind === "none") return condition("False", "NotJoined", "this machine is no node of a cluster");
  if (found.kind === "half") return condition("False", "HalfJoined", `a join did not end: there is ${found.left.join(", ")}`);
  const node = `node ${found.nodeName ?? spec.nodeName}`;
  const isHere = isOf(found.caHash, spec.caCertHashes);
  if (spec.cluster !== "" && !isHere)
    return condition("False", "JoinedToAnotherCluster", `${node} of another cluster than ${spec.cluster}`);
  const cluster = spec.cluster === "" ? (memory.member?.cluster ?? "a cluster that the plan does not name") : spec.cluster;
  if (!isKubeletActive) return condition("False", "KubeletNotActive", `${node} of cluster ${cluster}: kubelet.service does not run`);
  return condition("True", "Joined", `${node} of cluster ${cluster}`);
}

function nameOf(spec: KubeadmSpec, { found, memory }: KubeadmObserved): string {
  if (found.kind === "none") return memory.member !== undefined && isNodeOf(found, memory.member) ? memory.member.cluster : "";
  if (found.kind === "half") return "half joined";
  if (isOf(found.caHash, memory.member?.caCertHashes ?? [])) return memory.member?.cluster ?? "";
  return isOf(found.caHash, spec.caCertHashes) ? spec.cluster : "another cluster";
}
