import { describe, expect, it } from "vitest";
import type { ClusterPod } from "../cluster/cluster-api.ts";
import { type Hold, holdUp, mustLeave } from "./leaving-pods.ts";

const pod = (name: string, given: Partial<ClusterPod> = {}): ClusterPod => ({
  namespace: "default",
  name,
  uid: name,
  phase: "Running",
  isTerminating: false,
  isMirror: false,
  controllerKind: "ReplicaSet",
  ...given,
});

describe("what leaves a node that is drained", () => {
  it.each([
    ["a ReplicaSet's", {}, true],
    ["nobody's: as --force", { controllerKind: undefined }, true],
    ["one that waits for its start", { phase: "Pending" }, true],
    ["one of which nothing is known", { phase: "Unknown" }, true],
    ["one on its way", { isTerminating: true }, true],
    ["a Job's that is done", { controllerKind: "Job", phase: "Succeeded" }, false],
    ["a Job's that failed", { controllerKind: "Job", phase: "Failed" }, false],
    ["a DaemonSet's", { controllerKind: "DaemonSet" }, false],
    ["a static pod's mirror", { controllerKind: "Node", isMirror: true }, false],
  ])("%s: %j", (_whose, given, leaves) => {
    expect(mustLeave(pod("p", given))).toBe(leaves);
  });
});

describe("what holds a drain up", () => {
  const web: Hold = { budget: "web", message: "needs 2, has 2" };
  const odd: Hold = { budget: undefined, message: "HTTP 500" };
  const byWeb = "PodDisruptionBudget default/web allows none of pod default/a to go (needs 2, has 2)";
  it.each<[string, ClusterPod[], [string, Hold][], string]>([
    ["nothing", [], [], ""],
    ["one that ends", [pod("a")], [], "waits for pod default/a to end"],
    ["several that end", [pod("a"), pod("b"), pod("c")], [], "waits for pod default/a to end, and for 2 more"],
    ["a budget", [pod("a")], [["a", web]], byWeb],
    ["a budget and one that ends", [pod("a"), pod("b")], [["a", web]], `${byWeb}; 1 more is ending`],
    [
      "two that are held and two that end",
      [pod("a"), pod("b"), pod("c"), pod("d")],
      [
        ["a", web],
        ["b", odd],
      ],
      `${byWeb}; 1 more is held, too; 2 more are ending`,
    ],
    ["another reason", [pod("a")], [["a", odd]], "pod default/a cannot be evicted now: HTTP 500"],
    ["what was held and goes by now", [pod("a", { isTerminating: true })], [["a", web]], "waits for pod default/a to end"],
  ])("is told: %s", (_what, leaving, holds, told) => {
    expect(holdUp(leaving, new Map(holds))).toBe(told);
  });
});
