import { Facts } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { factLabels, formatSelector, labelValueOf, matchesSelector, parseSelector, type Selector } from "./index.ts";

function parsed(text: string): Selector {
  const parsing = parseSelector(text);
  if (!parsing.ok) throw new Error(parsing.message);
  return parsing.selector;
}

describe("parseSelector", () => {
  it("reads every form that kubectl does", () => {
    expect(parsed("a=b, c==d,e!=f,g in (x, y),h notin (z),i,!j")).toEqual({
      matchLabels: { a: "b", c: "d" },
      matchExpressions: [
        { key: "e", operator: "NotIn", values: ["f"] },
        { key: "g", operator: "In", values: ["x", "y"] },
        { key: "h", operator: "NotIn", values: ["z"] },
        { key: "i", operator: "Exists" },
        { key: "j", operator: "DoesNotExist" },
      ],
    });
  });

  it("keeps two requirements on one label", () => {
    expect(matchesSelector(parsed("a=b,a=c"), { a: "b" })).toBe(false);
  });

  it.each([
    ["", 1, "is empty"],
    ["a=b,", 5, "is missing"],
    ["a=b, c d", 6, "is no requirement"],
    ["a in b", 1, "is no requirement"],
    ["a in (b", 1, "is no requirement"],
    ["a>1", 1, "is no label key"],
    ["-a=b", 1, "is no label key"],
    ["a=b c", 1, "is no requirement"],
    ["a=_b", 1, "is no label value"],
  ])("refuses %j at column %d", (text, column, fragment) => {
    const parsing = parseSelector(text);
    expect(parsing).toMatchObject({ ok: false, column });
    expect(parsing.ok ? "" : parsing.message).toContain(fragment);
  });

  it("ends in data for any text", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", "b", "=", "!", ",", "(", ")", " ", " in ", " notin ", "/", ".", "__proto__")), (parts) => {
        expect(typeof parseSelector(parts.join("")).ok).toBe("boolean");
      }),
    );
  });

  it("reads back what formatSelector writes as a selector that matches the same", () => {
    const word = fc.constantFrom("a", "b", "c");
    const values = fc.uniqueArray(word, { minLength: 1 });
    const requirement = fc.oneof(
      fc.record({ key: word, operator: fc.constantFrom("In" as const, "NotIn" as const), values }),
      fc.record({ key: word, operator: fc.constantFrom("Exists" as const, "DoesNotExist" as const) }),
    );
    const selector: fc.Arbitrary<Selector> = fc.record({
      matchLabels: fc.dictionary(word, word, { minKeys: 1 }),
      matchExpressions: fc.array(requirement),
    });
    fc.assert(
      fc.property(selector, fc.dictionary(word, word), (wanted, labels) => {
        expect(matchesSelector(parsed(formatSelector(wanted)), labels)).toBe(matchesSelector(wanted, labels));
      }),
    );
  });
});

describe("matchesSelector", () => {
  it.each([
    ["a=b", { a: "b", c: "d" }, true],
    ["a=b", {}, false],
    ["a!=b", {}, true],
    ["a!=b", { a: "b" }, false],
    ["a in (b,c)", { a: "c" }, true],
    ["a notin (b)", {}, true],
    ["a", { a: "" }, true],
    ["!a", { a: "" }, false],
    ["toString", {}, false],
  ])("%s of %j is %s", (text, labels, expected) => {
    expect(matchesSelector(parsed(text), labels as Record<string, string>)).toBe(expected);
  });

  it("matches nothing when it is empty", () => {
    expect(matchesSelector({}, { a: "b" })).toBe(false);
  });
});

describe("factLabels", () => {
  it("names what is known, as label values", () => {
    const facts = Facts.fromPartial({
      architecture: "x64",
      os: "Debian",
      osVersion: "12",
      kernel: "6.1.0-18-amd64 #1 SMP",
      cpus: 8,
      memoryBytes: 32 * 2 ** 30,
      machineKind: "vm",
      versions: { containerd: "1.6.20~ds1" },
      vendor: " QEMU, Inc. ",
    });
    expect(factLabels(facts)).toEqual({
      "drover.dev/arch": "amd64",
      "drover.dev/containerd": "1.6.20-ds1",
      "drover.dev/cpus": "8",
      "drover.dev/kernel": "6.1.0-18-amd64-1-SMP",
      "drover.dev/machine-kind": "vm",
      "drover.dev/memory-gib": "32",
      "drover.dev/os": "debian",
      "drover.dev/os-version": "12",
      "drover.dev/vendor": "QEMU-Inc",
    });
  });

  it("always makes label values", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 100 }), (text) => {
        expect(labelValueOf(text)).toMatch(/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/);
      }),
    );
  });
});
