import { describe, expect, it } from "vitest";
import { Budget, type Limits, Topology } from "./budget.ts";
import type { Labels } from "./model.ts";

const half = (nodes: number): number => Math.floor(nodes / 2);
const LIMITS: Limits = { maxUnavailable: 3, budgets: [{ topologyKey: "zone", atOnce: half }], exclusive: "role" };

function budgetOf(limits: Limits, members: readonly Labels[], elsewhere: readonly Labels[] = []): { budget: Budget; topology: Topology } {
  const topology = new Topology(limits);
  for (const labels of members) topology.add(labels);
  const others = elsewhere.map(({ isBroken, ...labels }, index) => ({
    name: `other${index}`,
    labels: labels as Labels,
    isInChange: isBroken === undefined,
  }));
  return { budget: new Budget(limits, topology, others), topology };
}

describe("a topology", () => {
  it("counts the nodes of the set by value, and others not", () => {
    const topology = new Topology(LIMITS);
    for (const labels of [{ zone: "x" }, { zone: "x", role: "db" }, { zone: "y" }, {}]) topology.add(labels);
    topology.placeOf({ zone: "y" });
    topology.placeOf({ zone: "z" });
    expect([0, 1, 2, 3].map((value) => topology.size(0, value))).toEqual([2, 1, 0, 0]);
    expect([topology.count(0), topology.count(1), topology.count(2)]).toEqual([3, 1, 0]);
    expect([topology.size(7, 0), topology.valueOf(0, 1), topology.valueOf(0, 9)]).toEqual([0, "y", ""]);
  });

  it("gives one place to the same values, and -1 for a key that a node lacks", () => {
    const topology = new Topology(LIMITS);
    const place = topology.add({ zone: "x", role: "db", other: "1" });
    expect(place).toEqual({ values: [0], exclusive: 0 });
    expect(topology.add({ role: "db", zone: "x" })).toBe(place);
    expect(topology.add({ zone: "x" })).toEqual({ values: [0], exclusive: -1 });
    expect(topology.add({})).toEqual({ values: [-1], exclusive: -1 });
    expect(new Topology({ budgets: [], exclusive: undefined }).add({ zone: "x" })).toEqual({ values: [], exclusive: -1 });
  });
});

describe("I3: a budget", () => {
  const zones: Labels[] = Array.from({ length: 8 }, (_, index) => ({ zone: index < 4 ? "x" : "y" }));

  it("lets exactly as many come into change as maxUnavailable says", () => {
    const { budget, topology } = budgetOf({ ...LIMITS, budgets: [] }, zones);
    const place = topology.placeOf({});
    budget.count(place, false);
    for (const taken of [2, 3]) {
      expect(budget.refusal(place, false)).toBeUndefined();
      budget.take(place, false);
      expect([budget.unavailable, budget.changing]).toEqual([taken, taken - 1]);
    }
    expect(budget.refusal(place, false)).toBe("BudgetSpent");
    expect(budget.explain(place, false, "BudgetSpent", "a, b, c")).toBe("3 unavailable, 3 allowed: a, b, c");
  });

  it("lets one that is counted already come while fewer than the limit are in change, and counts it once", () => {
    const { budget, topology } = budgetOf({ ...LIMITS, maxUnavailable: 1 }, zones);
    const [x] = [topology.placeOf({ zone: "x" })];
    budget.count(x, false);
    budget.count(x, false);
    expect([budget.refusal(x, false), budget.refusal(x, true)]).toEqual(["BudgetSpent", undefined]);
    budget.take(x, true);
    expect([budget.unavailable, budget.changing]).toEqual([2, 1]);
    expect(budget.refusal(x, true)).toBe("BudgetSpent");
  });

  it("counts each value of a key by its own limit, whoever is there", () => {
    const { budget, topology } = budgetOf(LIMITS, zones);
    const [x, y, nowhere] = [{ zone: "x" }, { zone: "y" }, {}].map((labels) => topology.placeOf(labels)) as [never, never, never];
    budget.count(x, true);
    expect(budget.refusal(x, false)).toBeUndefined();
    budget.count(x, false);
    expect(budget.refusal(x, false)).toBe("TopologyBudgetSpent");
    expect(budget.refusal(x, true)).toBeUndefined();
    expect(budget.explain(x, false, "TopologyBudgetSpent", "")).toBe("2 unavailable with zone x, 2 allowed");
    expect([budget.refusal(y, false), budget.refusal(nowhere, false)]).toEqual([undefined, undefined]);
    budget.take(x, true);
    expect(budget.refusal(x, true)).toBe("TopologyBudgetSpent");
  });

  it("names the key that is spent, not the first", () => {
    const budgets = ["zone", "rack"].map((topologyKey) => ({ topologyKey, atOnce: () => 1 }));
    const { budget, topology } = budgetOf({ maxUnavailable: 9, budgets, exclusive: undefined }, [
      { zone: "x", rack: "1" },
      { zone: "y", rack: "1" },
    ]);
    budget.count(topology.placeOf({ zone: "y", rack: "1" }), false);
    const place = topology.placeOf({ zone: "x", rack: "1" });
    expect(budget.refusal(place, false)).toBe("TopologyBudgetSpent");
    expect(budget.explain(place, false, "TopologyBudgetSpent", "")).toBe("1 unavailable with rack 1, 1 allowed");
  });

  it("counts other sets' nodes by key, in change and unavailable alike, but not in maxUnavailable", () => {
    const { budget, topology } = budgetOf(LIMITS, zones, [{ zone: "x" }, { zone: "x" }, { zone: "w" }]);
    const x = topology.placeOf({ zone: "x" });
    expect([budget.unavailable, budget.changing]).toEqual([0, 0]);
    expect([budget.refusal(x, false), budget.refusal(x, true)]).toEqual(["TopologyBudgetSpent", "TopologyBudgetSpent"]);
    expect(budget.refusal(topology.placeOf({ zone: "y" }), false)).toBeUndefined();
  });

  it("never lets two values of the exclusive key into change, and asks nothing of those without it", () => {
    const limits: Limits = { ...LIMITS, budgets: [] };
    const { budget, topology } = budgetOf(limits, [{ role: "web" }, { role: "db" }, { role: "api" }, {}]);
    const place = (role?: string): ReturnType<Topology["placeOf"]> => topology.placeOf(role === undefined ? {} : { role });
    budget.count(place("db"), false);
    expect(budget.refusal(place("web"), false)).toBeUndefined();
    budget.take(place("web"), false);
    expect(["web", "db", "api", undefined].map((role) => budget.refusal(place(role), false))).toEqual([
      undefined,
      "Exclusive",
      "Exclusive",
      undefined,
    ]);
    expect(budget.explain(place("db"), false, "Exclusive", "")).toBe("role web is in change, and only one role may be");
  });

  it("lets one that is counted move although one of another set broke for good in the same values, and one that is available not", () => {
    const broken = { zone: "1", role: "db", isBroken: "yes" };
    const { budget, topology } = budgetOf(
      { ...LIMITS, budgets: [{ topologyKey: "zone", atOnce: () => 1 }] },
      [{ zone: "1", role: "web" }],
      [broken],
    );
    const place = topology.placeOf({ zone: "1", role: "web" });
    budget.count(place, false);
    expect([budget.refusal(place, true), budget.refusal(place, false)]).toEqual([undefined, "TopologyBudgetSpent"]);
  });

  it("keeps everybody with the exclusive key out while two other sets hold two of its values, and names the first by name", () => {
    const { budget, topology } = budgetOf(
      { ...LIMITS, budgets: [] },
      [{ role: "web" }],
      [{ role: "web" }, { role: "db" }, { role: "api" }],
    );
    const web = topology.placeOf({ role: "web" });
    expect(budget.refusal(web, false)).toBe("Exclusive");
    expect(budget.explain(web, false, "Exclusive", "")).toBe("role api is in change, and only one role may be");
    expect(budget.refusal(topology.placeOf({}), false)).toBeUndefined();
  });
});
