import { isDeepStrictEqual } from "node:util";
import { describe, expect, it } from "vitest";
import { LeanMap } from "./lean-map.ts";

interface Thing {
  readonly id: string;
  readonly size?: number;
  readonly text: string;
  readonly parts: readonly { readonly name: string }[];
}

const thing = (id: string, text: string): Thing => ({ id, size: 3, text, parts: [{ name: `part of ${id}` }] });
const mapOf = (...things: readonly Thing[]): LeanMap<Thing> => {
  const map = new LeanMap<Thing>({ held: ["id", "size"] });
  for (const [index, each] of things.entries()) map.take(each.id, entryOf(each, index + 1));
  return map;
};
const entryOf = (value: Thing, revision: number) => ({ key: value.id, value: Buffer.from(JSON.stringify(value)), revision });

describe("values of a lean map", () => {
  it("are, copy, compare and print like the objects that they are", () => {
    const one = thing("one", "ä text");
    const map = mapOf(one, thing("two", "another"));
    const { value, revision } = map.get("one")!;
    expect(revision).toBe(1);
    expect(value).toStrictEqual(one);
    expect(isDeepStrictEqual({ ...value }, one)).toBe(true);
    expect(JSON.stringify(value)).toBe(JSON.stringify(one));
    expect({ ...value, size: 4 }).toStrictEqual({ ...one, size: 4 });
    expect(map.get("one")!.value).toBe(value);
    expect("interruptions" in value).toBe(false);
  });

  it("stay what they were when another takes their place, or none", () => {
    const map = mapOf(thing("one", "first"), thing("two", "second"));
    const before = map.get("one")!.value;
    map.take("one", entryOf(thing("one", "changed"), 7));
    expect([before.text, map.get("one")!.value.text, map.revisionOf("one")]).toEqual(["first", "changed", 7]);
    const gone = map.get("two")!.value;
    expect([map.delete("two"), map.delete("two"), map.has("two"), map.size, map.revisionOf("two")]).toEqual([true, false, false, 1, 0]);
    map.take("three", entryOf(thing("three", "third"), 8));
    expect([gone.text, map.get("three")!.value.text]).toEqual(["second", "third"]);
  });

  it("come in the order in which they first came", () => {
    const map = mapOf(thing("b", "1"), thing("a", "2"), thing("c", "3"));
    map.take("a", entryOf(thing("a", "4"), 9));
    expect([...map.keys()]).toEqual(["b", "a", "c"]);
    expect([...map.values()].map(({ value }) => value.text)).toEqual(["1", "4", "3"]);
    expect([...map].map(([name, { value, revision }]) => `${name} ${value.id} ${revision}`)).toEqual(["b b 1", "a a 9", "c c 3"]);
  });
});
