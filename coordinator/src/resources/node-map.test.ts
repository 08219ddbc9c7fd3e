import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NodeMap, NodeNumbers } from "./node-map.ts";

const IDS = ["a", "b", "c", "d", "e", "f", "g", "h"];
const sorted = (values: Iterable<number>): number[] => [...values].sort((a, b) => a - b);

describe("maps of nodes that share their numbers", () => {
  it("each say what a Map says", () => {
    const id = fc.constantFrom(...IDS);
    const step = fc.record({ map: fc.nat({ max: 2 }), id, value: fc.option(fc.nat(), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const numbers = new NodeNumbers();
        const maps = Array.from({ length: 3 }, () => ({ ours: new NodeMap<number>(numbers), theirs: new Map<string, number>() }));
        for (const { map, id, value } of steps) {
          const { ours, theirs } = maps[map]!;
          if (value === undefined) expect(ours.delete(id)).toBe(theirs.delete(id));
          else {
            ours.set(id, value);
            theirs.set(id, value);
          }
        }
        for (const { ours, theirs } of maps) {
          expect(new Map(ours)).toEqual(theirs);
          expect([ours.size, new Set(ours.keys()), sorted(ours.values())]).toEqual([
            theirs.size,
            new Set(theirs.keys()),
            sorted(theirs.values()),
          ]);
          for (const id of IDS) expect([ours.has(id), ours.get(id)]).toEqual([theirs.has(id), theirs.get(id)]);
          ours.clear();
          expect([ours.size, [...ours]]).toEqual([0, []]);
        }
      }),
    );
  });

  it("hold an id once, and tell it as it is held", () => {
    const numbers = new NodeNumbers();
    expect([numbers.find("a"), numbers.same("a"), numbers.of("a"), numbers.of("b"), numbers.of("a"), numbers.id(1)]).toEqual([
      undefined,
      "a",
      0,
      1,
      0,
      "b",
    ]);
  });
});
