import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatProblem, locate, type ManifestParsing, parseManifests, validateObject } from "./index.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;

const GOOD = `# A profile and its set.
apiVersion: drover.dev/v1alpha1
kind: NodeProfile
metadata:
  name: web
  labels: { tier: front }
spec:
  sysctl:
    values:
      net.core.somaxconn: 4096
      net.ipv4.tcp_rmem: "4096 131072 6291456"
  images:
    images:
      - name: registry.k8s.io/pause:3.9
        digest: ${DIGEST}
        size: 300Ki
---
apiVersion: drover.dev/v1alpha1
kind: NodeSet
metadata:
  name: web
spec:
  selector: { matchLabels: { tier: front } }
  profile: web
---
`;

function lines(parsing: ManifestParsing): string[] {
  return parsing.ok ? [] : parsing.problems.map(formatProblem);
}

const head = (kind: string, spec: string): string =>
  `apiVersion: drover.dev/v1alpha1\nkind: ${kind}\nmetadata: { name: x }\nspec:\n${spec}`;
const profile = (spec: string): string => head("NodeProfile", spec);
const sysctl = (values: string): string => profile(`  sysctl:\n    values:\n${values}`);
const set = (spec: string): string => head("NodeSet", `  profile: p\n${spec}`);
const image = (fields: string): string => profile(`  images:\n    images:\n      - ${fields}`);
const goodImage = (name: string): string => `{ name: "${name}", digest: "${DIGEST}", size: 1Ki }`;

describe("parseManifests", () => {
  it("reads several documents, fills in defaults and passes over empty ones", () => {
    const parsing = parseManifests(GOOD, "web.yaml");
    if (!parsing.ok) throw new Error(lines(parsing).join("\n"));
    expect(parsing.manifests.map(({ object, line }) => [object.kind, line])).toEqual([
      ["NodeProfile", 2],
      ["NodeSet", 18],
    ]);
    expect(parsing.manifests[1]!.object.spec).toMatchObject({ strategy: { maxUnavailable: 1, soak: "0s", progressDeadline: "10m" } });
    expect(parsing.manifests[0]!.object.spec).toMatchObject({ images: { images: [{ pinned: true }] } });
  });

  it("reads JSON too", () => {
    const parsing = parseManifests(
      JSON.stringify({ apiVersion: "drover.dev/v1alpha1", kind: "NodeProfile", metadata: { name: "x" }, spec: {} }),
      "x.json",
    );
    expect(lines(parsing)).toEqual([]);
  });

  const bad: readonly (readonly [why: string, text: string, place: string, fragment: string])[] = [
    ["an empty file", "# nothing\n", "1:1", "holds no object"],
    ["a list at the top", "- a\n", "1:1", "is no object"],
    ["YAML that is none", "a: [1\nb: 2\n", "2:1", "is no YAML that can be read"],
    ["a tab as indentation", "apiVersion: x\nspec:\n\ta: 1\n", "3:1", "is no YAML that can be read"],
    ["a repeated key", "kind: NodeSet\nkind: NodeSet\n", "2:1", 'repeats the key "kind"'],
    ["an unknown tag", "kind: !secret x\n", "1:7", "Unresolved tag"],
    ["an alias of nothing", "kind: *nowhere\n", "1:7", "anchor"],
    ["an alias of itself", "spec: &a [*a]\n", "1:10", "holds itself"],
    ["too deep flow", `a: ${"[".repeat(100)}`, "1:68", "nested deeper than 64"],
    ["a missing kind", "apiVersion: drover.dev/v1alpha1\nmetadata: { name: x }\n", "1:1", "kind: is required; known kinds: NodeProfile"],
    [
      "a misspelt kind",
      "apiVersion: drover.dev/v1alpha1\nkind: NodeProfle\n",
      "2:7",
      'unknown kind "NodeProfle"; did you mean NodeProfile?',
    ],
    ["a short name for a kind", "apiVersion: drover.dev/v1alpha1\nkind: nodesets\n", "2:7", "did you mean NodeSet?"],
    ["a foreign kind", "apiVersion: drover.dev/v1alpha1\nkind: Deployment\n", "2:7", "known kinds:"],
    [
      "another apiVersion",
      "apiVersion: drover.dev/v1\nkind: ImageLock\n",
      "1:13",
      'unknown apiVersion "drover.dev/v1"; write drover.dev/v1alpha1',
    ],
    ["a bad name", profile("  {}\n").replace("name: x", "name: Web_1"), "3:19", "metadata.name: must be 1 to 63 lower-case letters"],
    [
      "a number as a label",
      profile("  {}\n").replace("name: x", "name: x, labels: { a: 1 }"),
      "3:35",
      'must be text, not the number 1; quote it: "1"',
    ],
    ["an unknown key", profile("  sysctls: {}\n"), "5:3", "spec.sysctls: is not known here; did you mean sysctl?"],
    ["a key at the wrong place", profile("  sandboxImage: a/b:1\n"), "5:3", "it belongs under spec.containerd"],
    ["yes for true", profile("  containerd:\n    systemdCgroup: yes\n"), "6:20", "must be true or false"],
    [
      "a URL without http",
      profile('  containerd:\n    registries: [{ host: a.io, mirrors: [{ url: "ftp://x" }] }]\n'),
      "6:49",
      "http or https",
    ],
    [
      "a password in a URL",
      profile('  containerd:\n    registries: [{ host: a.io, mirrors: [{ url: "https://u:p@x" }] }]\n'),
      "6:49",
      "holds a name or password",
    ],
    ["an unknown default runtime", profile("  containerd:\n    defaultRuntime: kata\n"), "6:21", "containerd would not start"],
    ["a mount without rootDir", profile("  containerd:\n    requiredMount: /data\n"), "6:5", "needs rootDir"],
    ["a path with ..", profile("  containerd:\n    rootDir: /a/../etc\n"), "6:14", "must not contain '..'"],
    ["a misspelt sysctl", sysctl("      net.core.somaxcon: 1\n"), "7:7", "did you mean net.core.somaxconn?"],
    ["an exec-like sysctl", sysctl('      kernel.core_pattern: "|/bin/sh"\n'), "7:7", "denied for good"],
    ["a sysctl out of range", sysctl("      vm.swappiness: 500\n"), "7:7", "from 0 to 200"],
    ["a sysctl with a fraction", sysctl("      vm.swappiness: 1.5\n"), "7:22", "must be text or a whole number"],
    ["a number too large for YAML", sysctl("      kernel.shmmax: 18446744073692774399\n"), "7:22", "quote"],
    ["ports of node ports", sysctl('      net.ipv4.ip_local_port_range: "1024 65535"\n'), "7:7", "overlaps the Kubernetes node ports"],
    ["a short image name", image('{ name: "nginx:1", digest: "' + DIGEST + '", size: 1 }\n'), "7:17", "docker.io/library/nginx:1"],
    ["a tag for a digest", image('{ name: "a.io/b:1", digest: latest, size: 1 }\n'), "7:37", "sha256: and 64 hex digits"],
    ["a repeated image", image(`${goodImage("a.io/b:1")}\n      - ${goodImage("a.io/b:1")}\n`), "8:17", "is already item 0"],
    ["a size of nothing", image('{ name: "a.io/b:1", digest: "' + DIGEST + '", size: 0 }\n'), "7:118", "must not be 0"],
    ["a missing digest", image('{ name: "a.io/b:1", size: 1 }\n'), "7:9", "digest: is required"],
    ["images of nothing", profile("  images:\n    maxParallel: 2\n"), "5:3", "names no images"],
    ["an empty selector", set("  selector: {}\n"), "6:13", "an empty selector is an error"],
    ["a missing selector", set(""), "4:1", "spec.selector: is required"],
    ["an unknown operator", set("  selector: { matchExpressions: [{ key: a, operator: in, values: [b] }] }\n"), "6:54", "did you mean In?"],
    ["In without values", set("  selector: { matchExpressions: [{ key: a, operator: In }] }\n"), "6:34", "has operator In and no values"],
    ["maxUnavailable 0", set("  selector: { matchLabels: { a: b } }\n  strategy: { maxUnavailable: 0 }\n"), "7:31", "must be at least 1"],
    ["maxUnavailable 0%", set("  selector: { matchLabels: { a: b } }\n  strategy: { maxUnavailable: 0% }\n"), "7:31", "1% to 100%"],
    ["a duration without a unit", set("  selector: { matchLabels: { a: b } }\n  strategy: { soak: 30 }\n"), "7:21", "must be text"],
    ["no time to progress", set("  selector: { matchLabels: { a: b } }\n  strategy: { progressDeadline: 0s }\n"), "7:33", "longer than 0"],
    ["__proto__", profile("  sysctl: { values: { __proto__: 1 } }\n"), "5:23", "is no allowed key"],
    ["the same object twice", `${GOOD.replace(/---\n$/, "")}---\n${GOOD}`, "30:9", "NodeProfile/web is defined on line 2 already"],
  ];

  it.each(bad)("refuses %s at its place", (_, text, place, fragment) => {
    const found = lines(parseManifests(text, "bad.yaml"));
    expect(
      found.some((line) => line.startsWith(`bad.yaml:${place}: `) && line.includes(fragment)),
      `none of:\n${found.join("\n")}`,
    ).toBe(true);
  });

  it("tells the faults of all documents at once, of shape and of meaning", () => {
    const text = `${sysctl("      kernel.modprobe: /x\n  extra: 1\n")}---\n${set("  selector: {}\n")}---\nkind: X\n`;
    const parsing = parseManifests(text, "f");
    expect(parsing.ok ? [] : parsing.problems.map(({ line, path }) => `${line} ${path}`)).toEqual([
      '7 spec.sysctl.values["kernel.modprobe"]',
      "8 spec.extra",
      "15 spec.selector",
      "17 apiVersion",
      "17 kind",
    ]);
  });

  it("refuses what is too large, and what grows too large through aliases, without delay", () => {
    expect(lines(parseManifests(`a: "${"x".repeat(1024 * 1024)}"`, "f"))[0]).toContain("more than the 1048576 allowed");
    const bomb = Array.from(
      { length: 9 },
      (_, i) => `a${i}: &a${i} [${Array.from({ length: 10 }, () => (i === 0 ? "x" : `*a${i - 1}`)).join(",")}]`,
    );
    expect(lines(parseManifests(bomb.join("\n"), "f"))[0]).toContain("through its aliases");
    for (const opening of ["[", "- ", "? ", "{a: "]) {
      expect(lines(parseManifests(opening.repeat(1_000_000 / opening.length), "f"))[0]).toContain("nested deeper");
    }
  });

  it("tells of a flood of keys without delay", () => {
    const flood = (count: number, indentation: string): string =>
      Array.from({ length: count }, (_, i) => `${indentation}net.core.key${i}: 1\n`).join("");
    const startedAt = performance.now();
    expect(lines(parseManifests(sysctl(flood(20_000, "      ")), "f")).join()).toContain("has 20000 keys");
    expect(lines(parseManifests(profile(flood(20_000, "  ")), "f")).length).toBe(50);
    expect(lines(parseManifests(sysctl(flood(1_000, "      ")), "f")).length).toBe(200);
    expect(performance.now() - startedAt).toBeLessThan(20_000);
  });

  it("ends with manifests or with problems that have a place, whatever the text", () => {
    const fragment = fc.constantFrom(
      ...GOOD.split(/(?<=[\s:{}])/),
      "&a ",
      "*a",
      "[",
      "]",
      "{",
      "}",
      "? ",
      "- ",
      "|\n",
      "'",
      '"',
      "\t",
      "!!int ",
      "%",
      "null",
      "__proto__: ",
      "<<: ",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(fragment, { maxLength: 60 }).map((parts) => parts.join("")),
          fc.string({ maxLength: 200 }),
        ),
        (text) => {
          const parsing = parseManifests(text, "f");
          if (parsing.ok) expect(parsing.manifests.length).toBeGreaterThan(0);
          else for (const problem of parsing.problems) expect(problem.line > 0 && problem.column > 0 && problem.message !== "").toBe(true);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

describe("locate", () => {
  it("finds the place of each part, and for a missing part that of what would hold it", () => {
    const parsing = parseManifests(GOOD, "web.yaml");
    if (!parsing.ok) throw new Error("the fixture is good");
    const [web] = parsing.manifests;
    expect(locate(web!, 'spec.sysctl.values["net.core.somaxconn"]')).toEqual({ file: "web.yaml", line: 10, column: 27 });
    expect(locate(web!, "spec.images.images[0].size")).toEqual({ file: "web.yaml", line: 16, column: 15 });
    expect(locate(web!, "spec.images.lock")).toEqual({ file: "web.yaml", line: 12, column: 3 });
    expect(locate(web!, "spec.images.images[7].name")).toEqual({ file: "web.yaml", line: 13, column: 5 });
    expect(locate(web!, "")).toEqual({ file: "web.yaml", line: 2, column: 1 });
    expect(locate(web!, "]no path[")).toEqual({ file: "web.yaml", line: 2, column: 1 });
  });
});

describe("validateObject", () => {
  it("says the same as for manifests, with paths and without lines", () => {
    const json = {
      apiVersion: "drover.dev/v1alpha1",
      kind: "NodeProfile",
      metadata: { name: "x" },
      spec: { sysctl: { values: { "kernel.hotplug": "x" } } },
    };
    const validation = validateObject(json, "request");
    expect(validation.ok ? [] : validation.problems.map(formatProblem)).toEqual([
      `request: spec.sysctl.values["kernel.hotplug"]: makes the kernel run programs of its writer's choice; it is denied for good`,
    ]);
  });

  it("ends in data for any JSON, however deep", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (json) => {
        expect(validateObject(json)).toMatchObject({ ok: false });
      }),
    );
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = { a: deep };
    expect(validateObject({ kind: "Node", spec: deep }).ok).toBe(false);
    const hostile: unknown = JSON.parse(
      '{"apiVersion":"drover.dev/v1alpha1","kind":"NodeProfile","metadata":{"name":"x","labels":{"__proto__":"y"}},"spec":{}}',
    );
    expect(validateObject(hostile).ok).toBe(false);
  });
});
