import { isDeepStrictEqual } from "node:util";
import { describe, expect, it } from "vitest";
import { LeanMap } from "./lean-map.ts";
import { NodeNumbers } from "./node-map.ts";

interface Thing {
  readonly id: string;
  readonly size?: number;
  readonly text: string;
  readonly parts: readonly { readonly name: string }[];
}

const thing = (id: string, text: string): Thing => ({ id, size: 3, text, parts: [{ name: `part of ${id}` }] });
const mapOf = (...things: readonly Thing[]): LeanMap<Thing> => {
  const map = new LeanMap<Thing>({ id: "name", size: "number" });
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

  it("come in the order of their numbers where these are shared, and are taken away from one map alone", () => {
    const numbers = new NodeNumbers();
    for (const id of ["x", "a", "b"]) numbers.of(id);
    const [one, other] = [new LeanMap<Thing>({ id: "name" }, numbers), new LeanMap<Thing>({ id: "name" }, numbers)];
    for (const [index, id] of ["b", "c", "a"].entries()) {
      one.take(id, entryOf(thing(id, "one"), index + 1));
      other.take(id, entryOf(thing(id, "other"), index + 1));
    }
    expect([one.delete("b"), one.delete("x"), one.delete("none")]).toEqual([true, false, false]);
    expect([[...one.keys()], [...other.keys()], one.size, other.size]).toEqual([["a", "c"], ["a", "b", "c"], 2, 3]);
    expect([one.get("b"), one.look("x"), other.look("b")?.text, one.look("a")?.text]).toEqual([undefined, undefined, "other", "one"]);
    one.take("b", entryOf(thing("b", "again"), 9));
    expect([...one].map(([id, { value }]) => `${id} ${value.text}`)).toEqual(["a one", "b again", "c one"]);
  });

  it("are the same object as long as they are asked for now and then, and after that another that is equal", () => {
    const map = mapOf(thing("one", "text"));
    const first = map.get("one")!.value;
    map.forgetUnused();
    expect(map.get("one")!.value).toBe(first);
    map.forgetUnused();
    map.forgetUnused();
    expect(map.get("one")!.value).not.toBe(first);
    expect([map.get("one")!.value, map.look("one")]).toStrictEqual([first, first]);
    expect(map.look("none")).toBeUndefined();
  });

  it("have a field of base64, or one that only looks like it, as it was given", () => {
    const map = new LeanMap<{ readonly id: string; readonly plan?: unknown; readonly more?: number }>({ id: "name" }, undefined, "plan");
    const plans = ["aGVsbG8=", "", "aGVsbG8", "no base64!", 7, { a: 1 }, null];
    const values = [...plans.map((plan, index) => ({ id: `n${index}`, plan })), { id: "none" }, { id: "both", plan: "aGVsbG8=", more: 1 }];
    for (const value of values) map.take(value.id, { key: value.id, value: Buffer.from(JSON.stringify(value)), revision: 1 });
    const before = map.look("n0")!;
    expect([...map.values()].map(({ value }) => ({ ...value }))).toStrictEqual(values);
    expect(values.map(({ id }) => map.field(id, "plan"))).toStrictEqual(values.map((value) => (value as { plan?: unknown }).plan));
    map.take("n0", { key: "n0", value: Buffer.from(JSON.stringify({ id: "n0", plan: "d29ybGQ=" })), revision: 2 });
    expect([before.plan, map.look("n0")!.plan]).toEqual(["aGVsbG8=", "d29ybGQ="]);
  });

  it("have bytes as they were written, also such as are not written so", () => {
    const map = new LeanMap<{ readonly id: string; readonly hex?: unknown; readonly key?: unknown }>({
      id: "name",
      hex: "hex",
      key: "base32",
    });
    const hexes = ["00ff", "", "44d9ff96e0d62ca1", "ABCD", "abc", "no hex", 7, null, "f".repeat(508), "f".repeat(510), undefined, "01"];
    const keys = ["UBV52DULQ6AM4K6ZHM7Q6J46A4XUQT6ABGOREZFVJT4255YEE3UW3RAQ", "ubv5", "", "A", "AB", "MZXW6YTB", undefined];
    const values = hexes.flatMap((hex, at) => keys.map((key, place) => ({ id: `n${at}-${place}`, hex, key })));
    const written = values.map((value) => JSON.parse(JSON.stringify(value)) as { id: string; hex?: unknown; key?: unknown });
    for (const value of written) map.take(value.id, { key: value.id, value: Buffer.from(JSON.stringify(value)), revision: 1 });
    expect(written.map(({ id }) => map.look(id))).toStrictEqual(written);
    expect(written.map(({ id }) => [map.field(id, "hex"), map.field(id, "key")])).toStrictEqual(written.map(({ hex, key }) => [hex, key]));
    map.delete("n0-0");
    map.take("next", { key: "next", value: Buffer.from('{"id":"next"}'), revision: 2 });
    expect(map.look("next")).toStrictEqual({ id: "next" });
  });

  it("may all have another word", () => {
    const map = new LeanMap<{ readonly id: string; readonly word: string }>({ id: "name", word: "word" });
    const values = Array.from({ length: 12_000 }, (_, index) => ({ id: `n${index}`, word: `word ${index}` }));
    for (const value of values) map.take(value.id, { key: value.id, value: Buffer.from(JSON.stringify(value)), revision: 1 });
    for (const value of values) expect(map.field(value.id, "word")).toBe(value.word);
    expect(values.map(({ id }) => map.look(id))).toStrictEqual(values);
  });

  it("are right also when they are not what their columns are for", () => {
    const kinds = { id: "name", at: "time", size: "number", of: { name: "name", made: "time", like: "word" } } as const;
    const values = [
      { id: "a", at: "2026-11-23T04:00:00.000Z", size: 1, of: { name: "a", made: "2026-11-23T04:00:00.001Z", like: { x: "y" } } },
      { id: "b", at: "2026-11-23T04:00:00Z", size: 1 },
      { id: "c", at: "yesterday", size: 0, more: [1] },
      { id: "d", size: "large" },
      { id: "e", size: null, of: {} },
      { id: "other", of: { name: "f" } },
      { id: "g", of: { name: "g", unheard: 1 } },
      { id: "h", of: { like: { x: "y" } } },
      {},
    ];
    const map = new LeanMap<object>(kinds);
    const names = "abcdefghi";
    for (const [index, value] of values.entries()) {
      map.take(names[index]!, { key: names[index]!, value: Buffer.from(JSON.stringify(value)), revision: 1 });
    }
    expect([...map.values()].map(({ value }) => value)).toStrictEqual(values);
    for (const [index, value] of values.entries()) {
      const fields = ["id", "at", "size", "of", "more"].map((field) => map.field(names[index]!, field as never) as unknown);
      const { id, at, size, of, more } = value as Record<string, unknown>;
      expect(fields).toStrictEqual([id, at, size, of, more]);
    }
    map.delete("a");
    map.take("j", { key: "j", value: Buffer.from(JSON.stringify({ id: "j" })), revision: 2 });
    expect(map.look("j"), "nothing is left of who had the place before").toStrictEqual({ id: "j" });
    expect([map.look("a"), map.look("h")]).toStrictEqual([undefined, values[7]]);
  });
});
