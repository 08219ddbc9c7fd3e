import { isNodeId } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { addressOf, drawn, nodeIdOf, outboxEpochOf } from "./agent-identity.ts";

describe("who the agents are", () => {
  it("follows from the seed: the same again, another with another seed, nobody twice", () => {
    const ids = Array.from({ length: 5_000 }, (_, index) => nodeIdOf(7, index));
    expect(new Set(ids).size).toBe(5_000);
    expect(ids.every(isNodeId)).toBe(true);
    expect(ids.slice(0, 3)).toEqual([0, 1, 2].map((index) => nodeIdOf(7, index)));
    expect(nodeIdOf(8, 0)).not.toBe(ids[0]);
    expect(outboxEpochOf(7, 0, 0)).not.toEqual(outboxEpochOf(7, 0, 1));
    expect(new Set(Array.from({ length: 70_000 }, (_, index) => addressOf(index))).size).toBe(70_000);
  });

  it("is drawn by share: distinct, as many as asked for, the same for the same draw", () => {
    const some = drawn(7, 1, 1_000, 0.05);
    expect([some.length, new Set(some).size]).toEqual([50, 50]);
    expect(drawn(7, 1, 1_000, 0.05)).toEqual(some);
    expect(drawn(7, 2, 1_000, 0.05)).not.toEqual(some);
    expect(drawn(7, 1, 10, 1)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});
