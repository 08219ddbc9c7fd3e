import { API_VERSION, type Cluster, type Node, type NodeSet, type Rollout } from "@drover/api";
import { describe, expect, it } from "vitest";
import { columns } from "../output/columns.ts";
import { describeNodes } from "./describe.ts";
import { describeCluster } from "./describe-cluster.ts";
import { whatWillHappen } from "./node-rejoin.ts";
import { judge } from "./wait.ts";

const kubernetes = { cluster: "prod", ready: "False" as const, reason: "KubeletNotReady", message: "no CNI", kubeletVersion: "v1.33.1" };

function node(name: string, inCluster = true): Node {
  return {
    apiVersion: API_VERSION,
    kind: "Node",
    metadata: { name, uid: "aaaaaaaaaa" },
    status: {
      phase: "InSync",
      health: "healthy",
      healthReason: "",
      desiredGeneration: 1,
      observedGeneration: 1,
      planEpoch: 1,
      desiredRevision: "r",
      enforcedRevision: "r",
      nodeSet: "web",
      rollout: "web-1",
      conditions: [],
      steps: [],
      drift: [],
      ...(inCluster ? { kubernetes: { ...kubernetes, nodeName: `${name}.example` } } : {}),
    },
  };
}

const cluster: Cluster = {
  apiVersion: API_VERSION,
  kind: "Cluster",
  metadata: { name: "prod" },
  spec: { endpoint: "10.0.0.5:6443", caCertHashes: [`sha256:${"a".repeat(64)}`, `sha256:${"b".repeat(64)}`] },
  status: {
    phase: "Unavailable",
    reason: "ClusterUnreachable",
    message: "connection refused",
    kubernetesVersion: "v1.33.1",
    nodes: 3,
    readyNodes: 2,
    conditions: [],
  },
};

describe("what is told of a machine in its cluster", () => {
  it("is told once of machines that are equal but for their names there", () => {
    const [text, ...more] = describeNodes([node("web-1"), node("web-2")], 0);
    expect(more).toEqual([]);
    expect(text).toContain("Kubernetes:\n  Cluster:   prod\n  Ready:     False KubeletNotReady: no CNI\n  Kubelet:   v1.33.1\n");
    expect(text).toMatch(/^ {2}web-2: .*, prod\/web-2\.example$/m);
    expect(describeNodes([node("web-1", false)], 0)[0]).not.toContain("Kubernetes");
  });

  it("has a column in wide tables", () => {
    const ready = columns.Node.find(({ title }) => title === "READY")!;
    expect([ready.isWide, ready.cell(node("a"), 0), ready.cell(node("a", false), 0)]).toEqual([true, "False", "-"]);
  });
});

describe("a cluster", () => {
  it("is described with what nodes need of it and what it says of them", () => {
    expect(describeCluster(cluster)).toBe(`Cluster:     prod
Endpoint:    10.0.0.5:6443
CA hashes:   sha256:${"a".repeat(64)}
             sha256:${"b".repeat(64)}
Phase:       Unavailable (ClusterUnreachable: connection refused)
Kubernetes:  v1.33.1
Nodes ready: 2 of 3 that are ours`);
  });

  it("can be waited for by its phase", () => {
    const goal = { type: "phase", phase: "Available" } as const;
    expect(judge(goal, cluster)).toBe(false);
    expect(judge(goal, { ...cluster, status: { ...cluster.status!, phase: "Available" } })).toBe(true);
  });
});

describe("what a rejoin will do", () => {
  const set: NodeSet = {
    apiVersion: API_VERSION,
    kind: "NodeSet",
    metadata: { name: "web" },
    spec: {
      selector: { matchLabels: { role: "web" } },
      profile: "web",
      cluster: "prod",
      strategy: { maxUnavailable: "50%", soak: "0s", progressDeadline: "10m", failureBudget: 0 },
    },
    status: { observedGeneration: 1, nodes: 4, updated: 4, inSync: 4, revision: "r", conditions: [] },
  };

  it("I7: is shown with count, node, set, cluster and budget before anything is asked", () => {
    const rollout = { kind: "Rollout", metadata: { name: "web-3" }, status: { phase: "Stopped", inChange: 1 } } as Rollout;
    expect(
      whatWillHappen(node("web-1"), set, "prod", rollout),
    ).toBe(`1 node will be reset, which ends its pods and takes it out of the cluster, and will join again:
  node:     web-1 (aaaaaaaaaa), InSync, healthy
  set:      web, 4 nodes
  cluster:  prod, in it web-1.example, Ready=False
  budget:   2 may be unavailable at once, 1 in change now; it waits for its turn
  rollout/web-3 is Stopped: it waits until that goes on`);
    expect(whatWillHappen(node("web-1", false), set, "prod", undefined)).toContain("prod, which knows no Node of it\n");
  });
});
