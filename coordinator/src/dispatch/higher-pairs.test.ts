import { VirtualClock } from "@drover/lifecycle";
import { describe, expect, it } from "vitest";
import { ASKING_MS, HigherPairs } from "./higher-pairs.ts";

const fleetOf = (count: number) => () => Array.from({ length: count }, (_, index) => `n${index}`);
const huge = { planEpoch: 1e15, generation: 1e15 };

describe("a node that tells a higher pair than the store has", () => {
  it.each([
    [1, 1],
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 3],
    [1_000, 3],
  ])("of %d nodes is believed when %d say so", (nodes, needed) => {
    const pairs = new HigherPairs(new VirtualClock());
    for (let index = 0; index < needed; index += 1) {
      const { verdict } = pairs.claimed(`n${index}`, { planEpoch: 2, generation: 1 }, fleetOf(nodes));
      expect(verdict).toBe(index === needed - 1 ? "restored" : "alone");
    }
  });

  it("is not believed however often it says so, and holds up decisions once, while others are asked", async () => {
    const clock = new VirtualClock();
    const pairs = new HigherPairs(clock);
    const first = pairs.claimed("n7", huge, fleetOf(100));
    expect(first).toMatchObject({ verdict: "alone", isNew: true });
    expect(first.verdict === "alone" && first.ask).toHaveLength(20);
    expect(first.verdict === "alone" && first.ask.includes("n7")).toBe(false);
    expect(pairs.heldUntilMs).toBe(ASKING_MS);
    for (let again = 0; again < 50; again += 1) {
      await clock.advance(60_000);
      const told = pairs.claimed("n7", { ...huge, generation: again }, fleetOf(100));
      expect(told).toEqual({ verdict: "alone", isNew: false, ask: [] });
    }
    expect(pairs.heldUntilMs).toBe(ASKING_MS);
    expect(pairs.count).toBe(1);
  });

  it("that has taken it back no longer counts", () => {
    const pairs = new HigherPairs(new VirtualClock());
    for (const nodeId of ["n1", "n2"]) {
      pairs.claimed(nodeId, huge, fleetOf(100));
      pairs.withdrawn(nodeId);
    }
    expect(pairs.claimed("n3", huge, fleetOf(100)).verdict).toBe("alone");
    expect(pairs.count).toBe(1);
  });

  it("is believed with two others without going over the fleet: all of a large one may say so at once", () => {
    const pairs = new HigherPairs(new VirtualClock());
    pairs.claimed("n1", huge, fleetOf(100));
    pairs.claimed("n2", huge, fleetOf(100));
    const untouched = (): never => {
      throw new Error("the fleet was gone over");
    };
    expect(pairs.claimed("n3", huge, untouched).verdict).toBe("restored");
  });

  it("does not decide alone what epoch the backup is accepted under", () => {
    const pairs = new HigherPairs(new VirtualClock());
    pairs.claimed("n1", huge, fleetOf(100));
    pairs.claimed("n2", { planEpoch: 3, generation: 8 }, fleetOf(100));
    expect(pairs.claimed("n3", { planEpoch: 3, generation: 9 }, fleetOf(100))).toMatchObject({
      verdict: "restored",
      seen: { planEpoch: 3, generation: 9 },
    });
  });
});
