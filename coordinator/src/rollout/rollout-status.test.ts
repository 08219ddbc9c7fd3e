import type { Rollout } from "@drover/api";
import { Impact } from "@drover/proto";
import { describe, expect, it } from "vitest";
import type { Progress } from "./model.ts";
import { rolloutImpact } from "./rollout-impact.ts";
import { begunStatus, failuresBefore, isBegun, knownFingerprints, paceOf, statusOf } from "./rollout-status.ts";
import { resolveStrategy } from "./strategy.ts";

const strategy = { maxUnavailable: 4, soak: "0s", progressDeadline: "10m", failureBudget: 0 };
const base = {
  phase: "Pending",
  reason: "",
  message: "",
  total: 0,
  updated: 0,
  inChange: 0,
  failed: 0,
  waiting: [],
  observedGeneration: 1,
} as const;
const rollout = (name: string, status: Partial<NonNullable<Rollout["status"]>> = {}): Rollout => ({
  apiVersion: "drover.dev/v1alpha1",
  kind: "Rollout",
  metadata: { name, generation: 3 },
  spec: { nodeSet: "web", profile: "web", revision: "sha256:a", strategy },
  status: { ...base, waiting: [], ...status },
});
const progress = (parts: Partial<Progress>): Progress => ({
  type: "progress",
  phase: "Progressing",
  reason: "",
  message: "",
  total: 4,
  updated: 0,
  inChange: 0,
  failed: 0,
  waitingCounts: {},
  waves: [],
  fingerprints: [],
  ...parts,
});
const none = { bound: "none" as const, steps: [], worst: [] };

describe("a rollout's status", () => {
  it("keeps what was known before it began through everything that is decided later", () => {
    const other = rollout("web-1", { fingerprints: [{ step: "sysctl", error: "F: old", isNew: true, nodes: ["a"] }] });
    const begun = { ...rollout("web-2"), status: begunStatus(rollout("web-2"), none, failuresBefore(rollout("web-2"), [other], [])) };
    expect([isBegun(rollout("web-2")), isBegun(begun), [...knownFingerprints(begun)]]).toEqual([false, true, ["sysctl: F: old"]]);
    const fingerprints = [{ fingerprint: "images: G: young", isNew: true, nodes: ["b"] }];
    const status = statusOf(begun, [progress({ fingerprints })], 0, () => undefined)!;
    expect(status.fingerprints).toEqual([
      { step: "images", error: "G: young", isNew: true, nodes: ["b"] },
      { step: "sysctl", error: "F: old", isNew: false, nodes: [] },
    ]);
    expect([status.impact, [...knownFingerprints({ ...begun, status })]]).toEqual([none, ["sysctl: F: old"]]);
  });

  it("estimates its end by its own pace, and says another time only when another node is done", () => {
    const started = rollout("web-1", { phase: "Progressing", total: 4, updated: 0, impact: none });
    const node = (enforcedAtMs: number | undefined, rolloutName = "web-1") => ({
      desired: { planEpoch: 1, generation: 1, revision: "r", rollout: rolloutName, decidedAtMs: 1_000, enforcedAtMs, isRejoinDue: false },
    });
    expect(paceOf("web-1", [node(undefined), { desired: undefined }])).toBeUndefined();
    const pace = paceOf("web-1", [node(undefined), node(61_000), node(9, "web-0")]);
    expect(pace).toEqual({ done: 1, firstDecidedAtMs: 1_000, lastEnforcedAtMs: 61_000 });
    const first = statusOf(started, [progress({ updated: 1 })], 62_000, () => pace);
    expect(first?.estimatedEnd).toBe(new Date(61_000 + 3 * 60_000).toISOString());
    const later = { ...started, status: first };
    expect(statusOf(later, [progress({ updated: 1 })], 99_000, () => expect.fail("nobody is done"))).toEqual(first);
    expect(statusOf(later, [progress({ updated: 4, phase: "Complete" })], 99_000, () => pace)?.estimatedEnd).toBeUndefined();
  });

  it("remembers when it was complete, until it is not any more", () => {
    const complete = statusOf(rollout("web-1"), [progress({ phase: "Complete" })], 5_000, () => undefined);
    expect(complete?.finishedAt).toBe(new Date(5_000).toISOString());
    const again = statusOf(rollout("web-1", complete), [progress({ phase: "Complete" })], 9_000, () => undefined);
    expect(again).toEqual(complete);
    expect(statusOf(rollout("web-1", complete), [progress({})], 9_000, () => undefined)?.finishedAt).toBeUndefined();
  });
});

describe("a rollout's impact", () => {
  const move = (zone: string, ...steps: (readonly [string, Impact])[]) => ({
    labels: { zone },
    impact: { bound: Math.max(Impact.IMPACT_LIVE, ...steps.map(([, impact]) => impact)) as Impact, steps: new Map(steps) },
  });
  const there = (zone: string) => ({ labels: { zone }, impact: undefined });
  const resolved = resolveStrategy({ ...strategy, budgets: [{ topologyKey: "zone", maxUnavailable: "50%" }] }, 6);

  it("is told by step, with the value of each key of which the largest share goes at once", () => {
    const nodes = [
      move("z1", ["sysctl", Impact.IMPACT_LIVE]),
      move("z1", ["sysctl", Impact.IMPACT_LIVE], ["containerd", Impact.IMPACT_RESTART]),
      there("z1"),
      move("z2", ["containerd", Impact.IMPACT_RESTART]),
      move("z2", ["containerd", Impact.IMPACT_DRAIN]),
      there("z3"),
    ];
    expect(rolloutImpact(nodes, resolved)).toEqual({
      bound: "drain",
      steps: [
        { step: "sysctl", impact: "live", nodes: 2 },
        { step: "containerd", impact: "drain", nodes: 3 },
      ],
      worst: [{ topologyKey: "zone", value: "z2", nodes: 1, of: 2 }],
    });
  });

  it("is none where every node has the revision", () => {
    expect(rolloutImpact([there("z1"), there("z2")], resolved)).toEqual(none);
  });
});
