/** What a profile's kubelet and kubeadm sections must hold besides their shape. */
import { checkKubelet } from "./kubelet-rules.ts";
import type { Finding, Path } from "./problems.ts";
import { listAt, mappingAt, textAt } from "./raw.ts";

const KUBELET: Path = ["spec", "kubelet"];
const KUBEADM: Path = ["spec", "kubeadm"];

/** Labels of these domains a kubelet may not put on its own Node; the API server refuses it with them. */
const RESTRICTED_DOMAIN = /(^|\.)(kubernetes\.io|k8s\.io)$/;
/** But for these, as NodeRestriction has it (k8s.io/kubernetes pkg/kubelet/apis/well_known_labels.go). */
const ALLOWED_LABELS = new Set([
  "kubernetes.io/hostname",
  "kubernetes.io/arch",
  "kubernetes.io/os",
  "beta.kubernetes.io/instance-type",
  "node.kubernetes.io/instance-type",
  "failure-domain.beta.kubernetes.io/region",
  "failure-domain.beta.kubernetes.io/zone",
  "topology.kubernetes.io/region",
  "topology.kubernetes.io/zone",
]);
const ALLOWED_DOMAINS = /(^|\.)(kubelet\.kubernetes\.io|node\.kubernetes\.io)$/;

/** Flags that kubeadm or this project sets, and by what. */
const OWNED_FLAGS: Readonly<Record<string, string>> = {
  config: "kubeadm writes it",
  "config-dir": "the kubelet section sets it",
  kubeconfig: "kubeadm writes it",
  "bootstrap-kubeconfig": "kubeadm writes it",
  "hostname-override": "the Node is named after the machine",
  "register-with-taints": "use taints",
  "node-labels": "use nodeLabels",
  "container-runtime-endpoint": "use criSocket",
};

export function checkKubernetes(json: unknown): readonly Finding[] {
  return [...checkConfiguration(json), ...checkPulls(json), ...checkLabels(json), ...checkTaints(json), ...checkFlags(json)];
}

function checkConfiguration(json: unknown): readonly Finding[] {
  const path: Path = [...KUBELET, "configuration"];
  return checkKubelet(mappingAt(json, path) ?? {}, undefined).map((finding) => ({
    path: [...path, ...finding.path],
    at: "key",
    message: finding.message,
    hint: finding.hint,
  }));
}

function checkPulls(json: unknown): readonly Finding[] {
  const section = mappingAt(json, KUBELET);
  if (section?.["maxParallelImagePulls"] === undefined || section["parallelImagePulls"] !== false) return [];
  const path: Path = [...KUBELET, "maxParallelImagePulls"];
  return [{ path, at: "key", message: "has no meaning with parallelImagePulls: false", hint: "remove one of them" }];
}

function checkLabels(json: unknown): readonly Finding[] {
  const path: Path = [...KUBEADM, "nodeLabels"];
  return Object.keys(mappingAt(json, path) ?? {}).flatMap((key): Finding[] => {
    const domain = key.includes("/") ? key.slice(0, key.indexOf("/")) : "";
    if (!RESTRICTED_DOMAIN.test(domain) || ALLOWED_LABELS.has(key) || ALLOWED_DOMAINS.test(domain)) return [];
    const hint = "use a domain of your own, or node.kubernetes.io; others of Kubernetes' own are set through its API only";
    return [{ path: [...path, key], at: "key", message: "is a label that a kubelet may not put on its own Node", hint }];
  });
}

function checkTaints(json: unknown): readonly Finding[] {
  const path: Path = [...KUBEADM, "taints"];
  const seen = new Set<string>();
  return (listAt(json, path) ?? []).flatMap((taint, index): Finding[] => {
    const [key, effect] = [textAt(taint, ["key"]), textAt(taint, ["effect"])];
    if (key === undefined || effect === undefined) return [];
    const name = `${key}:${effect}`;
    if (!seen.has(name)) {
      seen.add(name);
      return [];
    }
    const hint = "a Node has one taint of a key and an effect; remove one of them";
    return [{ path: [...path, index], at: "value", message: `repeats the taint ${name}`, hint }];
  });
}

function checkFlags(json: unknown): readonly Finding[] {
  const path: Path = [...KUBEADM, "kubeletExtraArgs"];
  return Object.keys(mappingAt(json, path) ?? {}).flatMap((flag): Finding[] => {
    const hint = Object.hasOwn(OWNED_FLAGS, flag) ? OWNED_FLAGS[flag] : undefined;
    return hint === undefined ? [] : [{ path: [...path, flag], at: "key", message: "must not be set here", hint }];
  });
}
