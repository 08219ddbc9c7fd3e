import { decodePlan, Facts, Impact, Plan, Step, SwapMode } from "@drover/proto";
import { describe, expect, it } from "vitest";
import {
  type Cluster,
  compile,
  type DroverObject,
  type Membership,
  type NodeProfile,
  revisionOf,
  upperBoundImpact,
  validateObject,
} from "./index.ts";

const A = `sha256:${"a".repeat(64)}`;
const B = `sha256:${"b".repeat(64)}`;
const apiVersion = "drover.dev/v1alpha1";

function valid(object: object): DroverObject {
  const validation = validateObject({ apiVersion, ...object });
  if (!validation.ok) throw new Error(JSON.stringify(validation.problems));
  return validation.object;
}

const profile = valid({
  kind: "NodeProfile",
  metadata: { name: "web" },
  spec: {
    binaries: [
      { name: "kubeadm", source: "https://files.example/kubeadm", digest: A, size: "40Mi", files: [{ target: "/usr/local/bin/kubeadm" }] },
    ],
    kernelModules: { names: ["overlay", "br_netfilter"] },
    sysctl: { values: { "net.ipv4.ip_forward": 1 } },
    swap: { mode: "Off" },
    containerd: { systemdCgroup: true },
    images: { images: [{ name: "a.io/z:1", digest: B, size: 10 }] },
    kubelet: { configuration: { maxPods: 42 } },
    kubeadm: { nodeLabels: { tier: "front" }, taints: [{ key: "dedicated", value: "web", effect: "NoSchedule" }] },
  },
}) as NodeProfile;
const cluster = valid({
  kind: "Cluster",
  metadata: { name: "lab" },
  spec: { endpoint: "10.0.0.5:6443", caCertHashes: [B, A] },
}) as Cluster;
const member: Membership = { cluster, nodeSet: "web", rejoin: 0 };
const facts = Facts.fromPartial({ hostname: "Web-1" });

function steps(membership: Membership | undefined, of: NodeProfile = profile): readonly Step[] {
  const compiled = compile(of, [], facts, membership);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  return compiled.steps;
}

describe("a profile whose set is in a cluster", () => {
  it("makes steps in the order in which they stand on each other, with ids that people can type", () => {
    expect(steps(member).map(({ id }) => id)).toEqual([
      "binaries",
      "kernel-modules",
      "sysctl",
      "swap",
      "containerd",
      "images",
      "kubelet",
      "kubeadm",
    ]);
    const bytes = Plan.encode(Plan.fromPartial({ nodeId: "abcdefgh23", steps: [...steps(member)] })).finish();
    expect(decodePlan(bytes).ok).toBe(true);
  });

  it("joins under its machine's name, with the label of its set and its taints; no credential is in it", () => {
    const kubeadm = steps(member).find(({ id }) => id === "kubeadm")?.spec;
    expect(kubeadm).toMatchObject({
      value: {
        cluster: "lab",
        endpoint: "10.0.0.5:6443",
        caCertHashes: [A, B],
        nodeName: "web-1",
        nodeLabels: { "drover.dev/node-set": "web", tier: "front" },
        taints: [{ key: "dedicated", value: "web", effect: "NoSchedule" }],
        rejoin: 0,
      },
    });
  });

  it("joins nothing without a cluster, and leaves swap alone when told to", () => {
    expect(steps(undefined).map(({ id }) => id)).not.toContain("kubeadm");
    const leaving = { ...profile, spec: { ...profile.spec, swap: { mode: "Leave" as const } } };
    expect(steps(member, leaving).map(({ id }) => id)).not.toContain("swap");
  });

  it("has another revision for another cluster, endpoint, CA or set; not for a rejoin, nor for another order of the CAs", () => {
    const revision = (membership: Membership | undefined): string => revisionOf(profile, [], membership);
    const with_ = (spec: Partial<Cluster["spec"]>): Membership => ({
      ...member,
      cluster: { ...cluster, spec: { ...cluster.spec, ...spec } },
    });
    const different = [undefined, member, with_({ endpoint: "10.0.0.6:6443" }), with_({ caCertHashes: [A] }), { ...member, nodeSet: "db" }];
    expect(new Set(different.map(revision)).size).toBe(different.length);
    expect(revision({ ...member, rejoin: 3 })).toBe(revision(member));
    expect(revision(with_({ caCertHashes: [A, B] }))).toBe(revision(member));
  });
});

describe("upperBoundImpact of a cluster's step", () => {
  const only = (...list: readonly Step[]): readonly Step[] => list.filter(({ id }) => id === "kubeadm");
  const joined = only(...steps(member));
  it.each([
    ["joining a machine that is in none", [], joined, Impact.IMPACT_RESTART],
    ["nothing new", joined, joined, Impact.IMPACT_LIVE],
    ["leaving", joined, [], Impact.IMPACT_DRAIN],
    ["joining again", joined, only(...steps({ ...member, rejoin: 1 })), Impact.IMPACT_DRAIN],
    ["another cluster", joined, only(...steps({ ...member, cluster: { ...cluster, metadata: { name: "other" } } })), Impact.IMPACT_DRAIN],
    ["what is not known to be there, joined again", undefined, only(...steps({ ...member, rejoin: 1 })), Impact.IMPACT_DRAIN],
  ] as const)("of %s", (_what, before, after, impact) => {
    expect(upperBoundImpact(before, after)).toBe(impact);
  });
});

describe("decodePlan", () => {
  it("refuses a mode of swap that it does not know", () => {
    const step = Step.create({ id: "swap", spec: { $case: "swap", value: { mode: 7 as SwapMode } } });
    expect(decodePlan(Plan.encode(Plan.fromPartial({ nodeId: "abcdefgh23", steps: [step] })).finish())).toMatchObject({
      ok: false,
      reason: "UnknownField",
    });
  });
});
