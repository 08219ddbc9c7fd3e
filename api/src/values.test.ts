import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  canonicalJson,
  contentDigest,
  formatBytes,
  formatDuration,
  formatPath,
  kindOf,
  nearest,
  parseBytes,
  parseDurationMs,
  parsePath,
  resolveMaxUnavailable,
} from "./index.ts";

describe("parseBytes", () => {
  it.each([
    [0, 0],
    ["512", 512],
    ["1k", 1_000],
    ["1Ki", 1_024],
    ["1.5Gi", 1_610_612_736],
    ["0.1Ki", 103],
    ["2T", 2e12],
  ])("reads %s as %d", (quantity, bytes) => {
    expect(parseBytes(quantity)).toBe(bytes);
  });

  it("throws for what the schemas refuse", () => {
    for (const text of ["", "1kb", "-1", "Ki", "1 Ki"]) expect(() => parseBytes(text)).toThrow(RangeError);
  });

  it("is told to people with one decimal", () => {
    expect([formatBytes(0), formatBytes(1_536), formatBytes(3 * 2 ** 30)]).toEqual(["0", "1.5Ki", "3Gi"]);
  });
});

describe("parseDurationMs", () => {
  it.each([
    ["30s", 30_000],
    ["1h30m", 5_400_000],
    ["250ms", 250],
    ["1d", 86_400_000],
    ["0s", 0],
  ])("reads %s as %d", (duration, durationMs) => {
    expect(parseDurationMs(duration)).toBe(durationMs);
  });

  it("reads back what formatDuration writes", () => {
    fc.assert(
      fc.property(fc.nat(), (durationMs) => {
        expect(parseDurationMs(formatDuration(durationMs))).toBe(durationMs);
      }),
    );
  });

  it("throws for what the schemas refuse", () => {
    for (const text of ["", "5", "m", "1.5h", "-1s"]) expect(() => parseDurationMs(text)).toThrow(RangeError);
  });
});

describe("resolveMaxUnavailable", () => {
  it.each([
    [1, 10, 1],
    [20, 10, 10],
    ["25%", 10, 2],
    ["1%", 10, 1],
    ["99%", 2, 1],
    ["99%", 1, 1],
    ["99%", 1_000, 990],
    ["100%", 7, 7],
    ["50%", 0, 0],
  ])("makes %s of %d nodes %d", (value, total, expected) => {
    expect(resolveMaxUnavailable(value, total)).toBe(expected);
  });

  it("below 100 % never gives none and, of several nodes, never all", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 99 }), fc.integer({ min: 2, max: 1_000_000 }), (percent, total) => {
        const nodes = resolveMaxUnavailable(`${percent}%`, total);
        expect(nodes).toBeGreaterThanOrEqual(1);
        expect(nodes).toBeLessThan(total);
      }),
    );
  });
});

describe("kindOf", () => {
  it("knows kinds, plurals and short names in any case, and nothing else", () => {
    expect(["NodeProfile", "nodeprofiles", "NP", "Set", "no", "tokens"].map(kindOf)).toEqual([
      "NodeProfile",
      "NodeProfile",
      "NodeProfile",
      "NodeSet",
      "Node",
      "JoinToken",
    ]);
    expect(["", "pod", "__proto__", "constructor"].map(kindOf)).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe("canonicalJson", () => {
  it("does not depend on the order of keys, and drops what is undefined", () => {
    expect(canonicalJson({ b: [1, undefined, { d: "x", c: null }], a: undefined })).toBe('{"b":[1,null,{"c":null,"d":"x"}]}');
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const turned = Object.fromEntries(Object.entries(value).reverse());
        expect(contentDigest(turned)).toBe(contentDigest(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

describe("nearest", () => {
  it("finds what is one or two edits away and leaves the rest alone", () => {
    const words = ["sysctl", "containerd", "images"];
    expect(["sysclt", "Images", "contanerd", "kubelet", ""].map((word) => nearest(word, words))).toEqual([
      "sysctl",
      "images",
      "containerd",
      undefined,
      undefined,
    ]);
  });
});

describe("formatPath", () => {
  it("is read back by parsePath", () => {
    expect(formatPath(["spec", "images", 0, "a.b"])).toBe('spec.images[0]["a.b"]');
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.nat(), fc.string(), fc.constantFrom("a", "b-c"))), (path) => {
        expect(parsePath(formatPath(path))).toEqual(path);
      }),
    );
  });
});
