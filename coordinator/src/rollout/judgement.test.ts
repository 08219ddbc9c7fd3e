import { describe, expect, it } from "vitest";
import { decideAfresh } from "./decide.ts";
import type { Decision, FleetNode, Progress, ResolvedStrategy, RolloutInput } from "./model.ts";
import { nodeOf, NOW_MS, plans, rolloutOf } from "./nodes-fixture.ts";

const MANY = 250;
const nodes = (count: number, from = 0, change: Partial<FleetNode> = {}): FleetNode[] =>
  Array.from({ length: count }, (_, index) => nodeOf({ name: `n${String(from + index).padStart(4, "0")}`, ...change }));

interface Outcome {
  readonly told: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
  readonly begun: readonly string[];
  readonly progress: Progress;
  readonly again: number | undefined;
}

function outcome(fleet: readonly FleetNode[], strategy: Partial<ResolvedStrategy> = {}, change: Partial<RolloutInput> = {}): Outcome {
  const decisions: readonly Decision[] = decideAfresh(rolloutOf(change, strategy), fleet, [], NOW_MS);
  const progress = decisions.find((each) => each.type === "progress")!;
  const again = decisions.find((each) => each.type === "askAgain");
  return {
    told: decisions.flatMap((each) => (each.type === "wait" ? [`${each.name} ${each.reason}`] : [])),
    counts: progress.waitingCounts,
    begun: decisions.flatMap((each) => (each.type === "move" || each.type === "drain" ? [each.name] : [])),
    progress,
    again: again && again.atMs - NOW_MS,
  };
}

describe("of many that wait", () => {
  it("200 are told, the first by name, and all are counted", () => {
    const { told, counts, begun } = outcome(nodes(MANY));
    expect(begun).toEqual(["n0000"]);
    expect([told.length, told[0], told.at(-1)]).toEqual([200, "n0001 BudgetSpent", "n0200 BudgetSpent"]);
    expect(counts).toEqual({ BudgetSpent: MANY - 1 });
  });

  it("each is told that has more against it than the budget, before those that have not", () => {
    const fleet = [...nodes(150), ...nodes(150, 150, { verdict: "unknown", verdictReason: "Silent" })];
    const { told, counts } = outcome(fleet, { maxUnavailable: 151 });
    expect([told.length, told[0], told[49], told[50], told.at(-1)]).toEqual([
      200,
      "n0001 BudgetSpent",
      "n0050 BudgetSpent",
      "n0150 NodeUnknown",
      "n0299 NodeUnknown",
    ]);
    expect(counts).toEqual({ BudgetSpent: 149, NodeUnknown: 150 });
  });

  it("are no more than 200 where all have something against them", () => {
    const { told, counts } = outcome([...nodes(9), ...nodes(MANY, 9, { verdict: "unknown", verdictReason: "Silent" })]);
    expect(told).toHaveLength(200);
    expect(told.filter((each) => each.endsWith("BudgetSpent"))).toEqual([]);
    expect(counts).toEqual({ BudgetSpent: 9, NodeUnknown: MANY });
  });

  it("for a topology budget, 200 are told, and those behind them that are elsewhere go on", () => {
    const budgets = [{ topologyKey: "zone", atOnce: () => 1 }];
    const fleet = [...nodes(MANY, 0, { labels: { zone: "x" } }), ...nodes(2, MANY, { labels: { zone: "y" } })];
    const { told, counts, begun } = outcome(fleet, { budgets, maxUnavailable: 9 });
    expect(begun).toEqual(["n0000", `n0${MANY}`]);
    expect(told).toHaveLength(200);
    expect(counts).toEqual({ TopologyBudgetSpent: MANY });
  });

  it.each<[string, Partial<ResolvedStrategy>, Partial<RolloutInput>, Record<string, number>]>([
    ["a later wave", { waves: [1] }, {}, { LaterWave: MANY - 1 }],
    ["the end of a pause", {}, { isPaused: true }, { Paused: MANY }],
    ["an approver", { approvals: new Set([1]) }, {}, { AwaitingApproval: MANY }],
  ])("for %s, 200 are told", (_case, strategy, change, wanted) => {
    const { told, counts } = outcome(nodes(MANY), strategy, change);
    expect(told).toHaveLength(200);
    expect(counts).toEqual(wanted);
  });
});

describe("a rollout is looked at again", () => {
  const opensLater = { isOpen: false, reason: "OutsideWindow", message: "", opensAtMs: NOW_MS + 5 } as const;
  const settled = (): FleetNode[] => [nodeOf(plans["enforced and settled"])];
  it.each<[string, FleetNode[], Partial<ResolvedStrategy>, Partial<RolloutInput>, number | undefined]>([
    ["when its window closes", nodes(1), {}, { opening: { isOpen: true, closesAtMs: NOW_MS + 7 } }, 7],
    ["when its window opens", nodes(1), {}, { opening: opensLater }, 5],
    ["not for a window when all is done", settled(), {}, { opening: opensLater }, undefined],
    ["when a soak ends", settled(), { soakMs: 100_003 }, {}, 3],
    ["when the first of all these comes", settled(), { soakMs: 100_009 }, { opening: opensLater }, 5],
    ["not for what is over", nodes(1), {}, { opening: { isOpen: true, closesAtMs: NOW_MS } }, undefined],
    ["at the deadline of what is sent", [nodeOf(plans["sent"])], { progressDeadlineMs: 100_001 }, {}, 1],
  ])("%s", (_case, fleet, strategy, change, wanted) => {
    expect(outcome(fleet, strategy, change).again).toBe(wanted);
  });
});

describe("the count of what is in change", () => {
  it("is of those that were before and those that begin now, failed ones beside", () => {
    const fleet = [nodeOf({ name: "a" }), nodeOf({ name: "b", ...plans["sent"] }), nodeOf({ name: "c", ...plans["rejected"] })];
    expect(outcome(fleet, { maxUnavailable: 3, failureBudget: 1 }).progress).toMatchObject({
      total: 3,
      updated: 0,
      inChange: 2,
      failed: 1,
    });
  });
});
