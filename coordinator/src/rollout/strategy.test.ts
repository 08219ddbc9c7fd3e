import { describe, expect, it } from "vitest";
import { resolveStrategy } from "./strategy.ts";

const plain = { maxUnavailable: 1, soak: "30s", progressDeadline: "10m", failureBudget: 0 };

describe("a strategy", () => {
  it.each([
    [["1%", "25%", "50%", "100%"], 100, [1, 25, 50]],
    [["1%", "25%", "50%"], 3, [1]],
    [["10%", "20%"], 1, []],
    [[2, 5, 50], 10, [2, 5]],
    [[5, 2], 10, [5]],
  ] as const)("makes of waves %j in a set of %i nodes %j: no two of them the same, and none the whole set", (waves, nodes, reaches) => {
    expect(resolveStrategy({ ...plain, waves: [...waves] }, nodes).waves).toEqual(reaches);
  });

  it("below 100 % is never none and never all, and 100 % is said to be all", () => {
    const of = (maxUnavailable: number | string, nodes: number) => {
      const { maxUnavailable: resolved, isAll } = resolveStrategy({ ...plain, maxUnavailable }, nodes);
      return [resolved, isAll];
    };
    expect([of("1%", 50), of("99%", 50), of("50%", 1), of("100%", 50), of(80, 50)]).toEqual([
      [1, false],
      [49, false],
      [1, false],
      [50, true],
      [50, false],
    ]);
  });

  it("counts each budget against the nodes with one value, and lets the canary soak longer", () => {
    const { budgets, canary, drain } = resolveStrategy(
      {
        ...plain,
        budgets: [{ topologyKey: "zone", maxUnavailable: "40%" }],
        canary: { nodes: 2, soak: "1h", selector: { matchLabels: { canary: "yes" } } },
      },
      100,
    );
    expect([budgets[0]!.atOnce(10), budgets[0]!.atOnce(2), budgets[0]!.atOnce(1)]).toEqual([4, 1, 1]);
    expect([canary?.nodes, canary?.soakMs, canary?.prefers({ canary: "yes" }), canary?.prefers({})]).toEqual([2, 3_600_000, true, false]);
    expect(drain).toEqual({ from: "drain", deadlineMs: 600_000, revisitAfterMs: 300_000 });
  });
});
