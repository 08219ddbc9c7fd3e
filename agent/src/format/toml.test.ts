import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatToml,
  formatTomlPath,
  formatTomlValue,
  isSameToml,
  leavesOf,
  parseToml,
  parseTomlValue,
  type TomlTable,
  type TomlValue,
  valueAt,
  withoutValueAt,
  withValueAt,
} from "./toml.ts";

const key = fc.oneof(
  fc.constantFrom("a", "b.c", "io.containerd.grpc.v1.cri", "__proto__", "constructor", ""),
  fc.string({ maxLength: 5, unit: "grapheme-ascii" }),
);
const leaf: fc.Arbitrary<TomlValue> = fc.oneof(
  fc.string({ unit: "grapheme-ascii" }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (Object.is(value, -0) ? 0 : value)),
  fc.boolean(),
  fc.array(fc.bigInt({ min: 0n, max: 9n }), { maxLength: 3 }),
);
const { table } = fc.letrec<{ table: TomlTable }>((tie) => ({
  table: fc
    .array(fc.tuple(key, fc.oneof({ maxDepth: 3 }, leaf, tie("table"))), { maxLength: 4 })
    .map((entries): TomlTable => Object.fromEntries(entries)),
}));

function parsed(text: string): TomlTable {
  const parsing = parseToml(text);
  if (!parsing.ok) throw new Error(`${parsing.line}:${parsing.column}: ${parsing.message} in ${text}`);
  return parsing.table;
}

describe("TOML", () => {
  it("property: what is written reads the same, with its types", () => {
    fc.assert(fc.property(table, (each) => isSameToml(parsed(formatToml(each, ["header", ""])), each)));
  });

  it("property: a value in memory reads the same", () => {
    fc.assert(fc.property(leaf, (value) => isSameToml(parseTomlValue(formatTomlValue(value)), value)));
  });

  it("property: setting a value changes nothing else, and taking it out again gives back what was there", () => {
    fc.assert(
      fc.property(table, fc.array(key, { minLength: 1, maxLength: 3 }), leaf, (each, path, value) => {
        fc.pre(
          path.every((_key, depth) => depth === 0 || isTable(valueAt(each, path.slice(0, depth)))) && valueAt(each, path) === undefined,
        );
        const changed = withValueAt(each, path, value);
        expect(isSameToml(valueAt(changed, path), value)).toBe(true);
        const others = [...leavesOf(changed)].filter(([at]) => formatTomlPath(at) !== formatTomlPath(path));
        expect(others.map(([at]) => at)).toEqual([...leavesOf(each)].map(([at]) => at));
        expect([...leavesOf(withoutValueAt(changed, path))].length).toBe([...leavesOf(each)].length);
      }),
    );
  });

  it("keeps a float a float and an integer an integer", () => {
    expect(formatToml(parsed("a = 1.0\nb = 1\nc = 9223372036854775807\n"))).toBe("a = 1.0\nb = 1\nc = 9223372036854775807\n");
  });

  it("says where it is broken", () => {
    expect(parseToml("a = 1\n[b\n")).toMatchObject({ ok: false, line: 2 });
  });

  it.each(["1\nb = 2", "", "x", "1 2", "[1"])("%j is not one value", (text) => {
    expect(parseTomlValue(text)).toBeUndefined();
  });

  it("writes a path as people do", () => {
    expect(formatTomlPath(["plugins", "io.containerd.grpc.v1.cri", "sandbox_image"])).toBe(
      'plugins."io.containerd.grpc.v1.cri".sandbox_image',
    );
  });
});

function isTable(value: TomlValue | undefined): boolean {
  return typeof value === "object" && !Array.isArray(value);
}
