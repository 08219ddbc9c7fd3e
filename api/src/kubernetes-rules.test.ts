import { Facts } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { compile } from "./compile.ts";
import { checkKubelet } from "./kubelet-rules.ts";
import { checkKubernetes } from "./kubernetes-rules.ts";
import type { NodeProfile } from "./objects.ts";

const told = (kubelet: object, kubeadm: object = {}): string[] =>
  checkKubernetes({ spec: { kubelet, kubeadm } }).map(({ path, message }) => `${path.slice(2).join(".")} ${message}`);

describe("fields of KubeletConfiguration", () => {
  it.each([
    ["maxPods", 20, undefined],
    ["imageMaximumGCAge", 28, "is not known to kubelet 1.28: known from 1.29"],
    ["imageMaximumGCAge", 29, undefined],
    ["podLogsDir", 29, "is not known to kubelet 1.29: known from 1.30"],
    ["containerLogMaxWorkers", 28, "is not known to kubelet 1.28: known from 1.29"],
    ["containerLogMaxWorkers", 29, undefined],
    ["memorySwap", 21, "is not known to kubelet 1.21: known from 1.22"],
    ["singleProcessOOMKill", 31, "is not known to kubelet 1.31: known from 1.32"],
    ["mergeDefaultEvictionSettings", 32, "is not known to kubelet 1.32: known from 1.33"],
    ["draManagerReconcilePeriod", 36, undefined],
    ["imageMaximumGCAge", undefined, undefined],
    ["maxPod", undefined, "is no field of KubeletConfiguration"],
    ["toString", 20, "is no field of KubeletConfiguration"],
    ["maxParallelImagePulls", 30, "must not be set here"],
    ["rotateCertificates", 30, "must not be set here"],
    ["staticPodURL", 28, "must not be set here"],
    ["staticPodURLHeader", undefined, "must not be set here"],
    ["resolvConf", 29, undefined],
    ["resolvConf", 30, "is ignored by kubelet 1.30 in a drop-in"],
    ["resolvConf", 31, "is ignored by kubelet 1.31 in a drop-in"],
    ["resolvConf", 32, undefined],
    ["resolvConf", undefined, undefined],
  ])("%s for 1.%s: %s", (key, minor, message) => {
    expect(checkKubelet({ [key]: 1 }, minor)[0]?.message).toBe(message);
  });

  it("are looked into where their inside is no free mapping", () => {
    const found = (configuration: Record<string, unknown>, minor?: number): string[] =>
      checkKubelet(configuration, minor).map(({ path, message }) => `${path.join(".")} ${message}`);
    expect(found({ authentication: { anonymous: { enabeld: true } } })).toEqual([
      "authentication.anonymous.enabeld is no field of KubeletConfiguration",
    ]);
    expect(found({ evictionHard: { "memory.free": "1Gi" }, featureGates: { Any: true }, systemReserved: { cpu: "1" } })).toEqual([
      "evictionHard.memory.free is no field of KubeletConfiguration",
    ]);
    expect(found({ logging: { sanitization: true } }, 25)).toEqual([
      "logging.sanitization is not known to kubelet 1.25: known before 1.24",
    ]);
    expect(found({ logging: { verbosity: 2 } }, 20)).toEqual(["logging.verbosity is not known to kubelet 1.20: known from 1.23"]);
    expect(found({ logging: { sanitization: true } }, 23)).toEqual([]);
    expect(found({ logging: { options: {} } }, 21)).toEqual([]);
    expect(found({ logging: { options: {} } }, 20)).toEqual(["logging.options is not known to kubelet 1.20: known from 1.21"]);
    expect(found({ evictionSoft: { "containerfs.available": "1Gi" } }, 20)).toEqual([]);
    expect(found({ maxPods: null })).toEqual(["maxPods has no value"]);
  });
});

describe("kubelet and kubeadm sections", () => {
  it("are told where they mean nothing, or something that a node may not do", () => {
    expect(told({ configuration: { maxPod: 1 }, parallelImagePulls: false, maxParallelImagePulls: 3 })).toEqual([
      "configuration.maxPod is no field of KubeletConfiguration",
      "maxParallelImagePulls has no meaning with parallelImagePulls: false",
    ]);
    const nodeLabels = {
      tier: "front",
      "node-role.kubernetes.io/worker": "",
      "node.kubernetes.io/pool": "a",
      "topology.kubernetes.io/zone": "z",
      "mine.example/k8s.io": "x",
      "a.k8s.io/b": "c",
    };
    expect(told({}, { nodeLabels })).toEqual([
      "nodeLabels.node-role.kubernetes.io/worker is a label that a kubelet may not put on its own Node",
      "nodeLabels.a.k8s.io/b is a label that a kubelet may not put on its own Node",
    ]);
    const taint = { key: "dedicated", effect: "NoSchedule" };
    expect(told({}, { taints: [taint, { ...taint, effect: "NoExecute" }, { ...taint, value: "b" }] })).toEqual([
      "taints.2 repeats the taint dedicated:NoSchedule",
    ]);
    expect(told({}, { kubeletExtraArgs: { v: "2", "node-labels": "a=b" } })).toEqual(["kubeletExtraArgs.node-labels must not be set here"]);
    expect(told({ configuration: { maxPods: 10 }, maxParallelImagePulls: 3 }, { taints: [taint] })).toEqual([]);
  });
});

describe("a profile for a machine whose kubelet is known", () => {
  const profile = (extra: object = {}): NodeProfile => ({
    apiVersion: "drover.dev/v1alpha1",
    kind: "NodeProfile",
    metadata: { name: "web" },
    spec: { kubelet: { configuration: { imageMaximumGCAge: "1h" }, parallelImagePulls: true }, ...extra },
  });
  const facts = Facts.create({ hostname: "web-1", versions: { kubelet: "1.20.2" } });

  it("does not compile with keys that it does not know, unless the profile brings another kubelet", () => {
    expect(compile(profile(), [], facts)).toMatchObject({
      ok: false,
      problems: [
        { path: "spec.kubelet.configuration.imageMaximumGCAge", message: "is not known to kubelet 1.20: known from 1.29 (of web-1)" },
      ],
    });
    expect(compile(profile(), [], undefined).ok).toBe(true);
    const binaries = [
      { name: "kubelet", source: "/opt/kubelet", digest: `sha256:${"a".repeat(64)}`, files: [{ target: "/usr/bin/kubelet" }] },
    ];
    expect(compile(profile({ binaries }), [], facts).ok).toBe(true);
  });
});
