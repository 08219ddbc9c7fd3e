import { type Change, decodePlan, Facts, Impact, Plan, Step } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  compile,
  impactOf,
  type ImageLock,
  type NodeProfile,
  revisionOf,
  revisionOfLock,
  upperBoundImpact,
  validateObject,
} from "./index.ts";

const A = `sha256:${"a".repeat(64)}`;
const B = `sha256:${"b".repeat(64)}`;

function profileOf(spec: unknown, name = "web"): NodeProfile {
  const validation = validateObject({ apiVersion: "drover.dev/v1alpha1", kind: "NodeProfile", metadata: { name }, spec });
  if (!validation.ok || validation.object.kind !== "NodeProfile") throw new Error(JSON.stringify(validation));
  return validation.object;
}

function lockOf(images: unknown, name = "base"): ImageLock {
  const validation = validateObject({ apiVersion: "drover.dev/v1alpha1", kind: "ImageLock", metadata: { name }, spec: { images } });
  if (!validation.ok || validation.object.kind !== "ImageLock") throw new Error(JSON.stringify(validation));
  return validation.object;
}

const SPEC = {
  sysctl: { values: { "vm.swappiness": 0, "net.ipv4.tcp_rmem": "4096\t131072\t6291456" } },
  containerd: {
    systemdCgroup: true,
    registries: [
      { host: "registry.k8s.io", mirrors: [{ url: "http://10.0.0.5:5000" }, { url: "http://10.0.0.4:5000", capabilities: ["pull"] }] },
      { host: "docker.io", mirrors: [{ url: "https://m.example" }] },
    ],
    runtimes: [{ name: "runc", options: { SystemdCgroup: true, BinaryName: 'a"b\u007f', Level: 3 } }],
  },
  images: { lock: "base", images: [{ name: "a.io/z:1", digest: B, size: 10 }], minFree: "1Gi" },
};
const LOCK = lockOf([
  { name: "registry.k8s.io/pause:3.9", digest: A, size: "300Ki" },
  { name: "a.io/b:1", digest: B, size: 5, pinned: false, archive: "/var/lib/a.tar" },
]);

function stepsOf(spec: unknown, locks: readonly ImageLock[] = [LOCK]): readonly Step[] {
  const compilation = compile(profileOf(spec), locks, undefined);
  if (!compilation.ok) throw new Error(JSON.stringify(compilation.problems));
  return compilation.steps;
}

describe("compile", () => {
  it("makes the steps in their order, with everything a node needs and nothing to look up", () => {
    const steps = stepsOf(SPEC);
    expect(steps.map(({ id }) => id)).toEqual(["sysctl", "containerd", "images"]);
    expect(steps[0]!.spec!.value).toMatchObject({ values: { "net.ipv4.tcp_rmem": "4096 131072 6291456", "vm.swappiness": "0" } });
    expect(steps[1]!.spec!.value).toMatchObject({
      systemdCgroup: true,
      restrictOomScoreAdj: undefined,
      rootDir: "",
      registries: [
        { host: "docker.io", mirrors: [{ url: "https://m.example", capabilities: [] }] },
        { host: "registry.k8s.io", mirrors: [{ url: "http://10.0.0.5:5000" }, { url: "http://10.0.0.4:5000", capabilities: ["pull"] }] },
      ],
      runtimes: [{ runtimeType: "io.containerd.runc.v2", options: { BinaryName: '"a\\"b\\u007f"', Level: "3", SystemdCgroup: "true" } }],
    });
    expect(steps[2]!.spec!.value).toMatchObject({
      images: [
        { name: "a.io/b:1", digest: B, sizeBytes: 5, pinned: false, archive: "/var/lib/a.tar" },
        { name: "a.io/z:1", digest: B, sizeBytes: 10, pinned: true, archive: "" },
        { name: "registry.k8s.io/pause:3.9", digest: A, sizeBytes: 307_200, pinned: true, archive: "" },
      ],
      maxParallel: 0,
      minFreeBytes: 2 ** 30,
    });
  });

  it("makes probes, which are part of the revision only where there are any", () => {
    const probes = [
      { name: "kubelet", http: { url: "http://127.0.0.1:10248/healthz" } },
      { name: "api", tcp: { port: 6443 }, timeout: "500ms" },
    ];
    const compilation = compile(profileOf({ ...SPEC, probes }), [LOCK], undefined);
    const bare = compile(profileOf(SPEC), [LOCK], undefined);
    if (!compilation.ok || !bare.ok) throw new Error("it does not compile");
    expect(compilation.probes).toMatchObject([
      { name: "kubelet", target: { $case: "httpUrl", value: "http://127.0.0.1:10248/healthz" }, timeoutMs: 2_000 },
      { name: "api", target: { $case: "tcpPort", value: 6443 }, timeoutMs: 500 },
    ]);
    expect(compilation.revision).not.toBe(bare.revision);
    expect(bare.probes).toEqual([]);
    const slower = compile(profileOf({ ...SPEC, probes: [probes[0], { ...probes[1], timeout: "1s" }] }), [LOCK], undefined);
    expect(slower.ok && slower.revision).not.toBe(compilation.revision);
    const plan = Plan.create({ nodeId: "abcdefghij", planEpoch: 1, generation: 1, probes: [...compilation.probes] });
    const decoding = decodePlan(Plan.encode(plan).finish());
    expect(decoding.ok ? decoding.plan.probes : decoding).toEqual(compilation.probes);
  });

  it("makes no step for a section that is not there", () => {
    expect(stepsOf({})).toEqual([]);
    expect(stepsOf({ sysctl: SPEC.sysctl }).map(({ id }) => id)).toEqual(["sysctl"]);
  });

  it("makes plans that the strict decoder takes back as they are", () => {
    const plan = Plan.create({
      nodeId: "abcdefghij",
      planEpoch: 1,
      generation: 1,
      impactBound: Impact.IMPACT_RESTART,
      steps: [...stepsOf(SPEC)],
    });
    const decoding = decodePlan(Plan.encode(plan).finish());
    expect(decoding.ok ? decoding.plan.steps : decoding).toEqual(plan.steps);
  });

  it("names a lock that is not there, and an image that stands in both", () => {
    const missing = compile(profileOf(SPEC), [], undefined);
    expect(missing).toMatchObject({ ok: false, problems: [{ file: "NodeProfile/web", path: "spec.images.lock", line: 0 }] });
    const doubled = compile(profileOf({ images: { lock: "base", images: [{ name: "a.io/b:1", digest: A, size: 1 }] } }), [LOCK], undefined);
    expect(doubled).toMatchObject({ ok: false, problems: [{ path: "spec.images.images[0].name" }] });
  });

  it.each([
    ["1.5.9", false],
    ["v1.6.20", true],
    ["1.6.20~ds1", true],
    ["2.1.0", true],
    ["unknown", true],
  ])("for containerd %s is ok: %s", (version, isOk) => {
    const facts = Facts.fromPartial({ hostname: "n1", versions: { containerd: version } });
    expect(compile(profileOf(SPEC), [LOCK], facts).ok).toBe(isOk);
    expect(compile(profileOf({ sysctl: SPEC.sysctl }), [], facts).ok).toBe(true);
  });
});

describe("revisionOf", () => {
  const revision = revisionOf(profileOf(SPEC), [LOCK]);

  it("is a digest, that of compile, and always the same for the same content", () => {
    expect(revision).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(compile(profileOf(SPEC), [LOCK], undefined)).toMatchObject({ revision });
    expect(compile(profileOf(SPEC), [LOCK], Facts.fromPartial({ cpus: 3 }))).toMatchObject({ revision });
  });

  it("does not depend on the order of keys, on names, on labels or on spelling", () => {
    const turned = Object.fromEntries(Object.entries(SPEC).reverse());
    expect(revisionOf(profileOf(turned, "other"), [LOCK])).toBe(revision);
    const spelled = {
      ...SPEC,
      sysctl: { values: { "net.ipv4.tcp_rmem": "4096 131072 6291456", "vm.swappiness": "0" } },
      images: { ...SPEC.images, minFree: 2 ** 30 },
    };
    expect(revisionOf(profileOf(spelled), [LOCK])).toBe(revision);
    const renamed = { ...SPEC, images: { ...SPEC.images, lock: "other" } };
    expect(revisionOf(profileOf(renamed), [lockOf(LOCK.spec.images.toReversed(), "other")])).toBe(revision);
  });

  it("changes with each value, with the order of mirrors, and with what a lock holds", () => {
    const { sysctl, containerd, images } = SPEC;
    const swapped = containerd.registries.map((registry) => ({ ...registry, mirrors: registry.mirrors.toReversed() }));
    const others = [
      revisionOf(profileOf({ containerd, images }), [LOCK]),
      revisionOf(profileOf({ ...SPEC, sysctl: { values: { ...sysctl.values, "vm.swappiness": 1 } } }), [LOCK]),
      revisionOf(profileOf({ ...SPEC, containerd: { ...containerd, systemdCgroup: false } }), [LOCK]),
      revisionOf(profileOf({ ...SPEC, containerd: { ...containerd, registries: swapped } }), [LOCK]),
      revisionOf(profileOf(SPEC), [lockOf(LOCK.spec.images.slice(1))]),
      revisionOf(profileOf(SPEC), []),
    ];
    expect(new Set([revision, ...others]).size).toBe(others.length + 1);
  });

  it("differs wherever the steps differ", () => {
    const values = fc.dictionary(fc.constantFrom("vm.swappiness", "kernel.panic", "net.core.somaxconn"), fc.integer({ min: 16, max: 60 }));
    fc.assert(
      fc.property(values, values, (a, b) => {
        const [first, second] = [a, b].map((chosen) => compile(profileOf({ sysctl: { values: chosen } }), [], undefined));
        if (!first!.ok || !second!.ok) throw new Error("both are valid");
        const bytes = [first!, second!].map(({ steps }) => Buffer.from(Step.encode(steps[0]!).finish()).toString("hex"));
        expect(first!.revision === second!.revision).toBe(bytes[0] === bytes[1]);
      }),
    );
  });

  it("of a lock does not depend on the order of its images", () => {
    expect(revisionOfLock(lockOf(LOCK.spec.images.toReversed(), "other"))).toBe(revisionOfLock(LOCK));
  });
});

describe("impactOf", () => {
  it.each([
    [[], Impact.IMPACT_UNSPECIFIED],
    [[Impact.IMPACT_LIVE, Impact.IMPACT_RESTART], Impact.IMPACT_RESTART],
    [[Impact.IMPACT_UNSPECIFIED], Impact.IMPACT_REBOOT],
    [[99 as Impact, Impact.IMPACT_LIVE], Impact.IMPACT_REBOOT],
  ])("of %j is %d: the highest, and the worst for what is not known", (impacts, expected) => {
    expect(impactOf(impacts.map((impact): Pick<Change, "impact"> => ({ impact })))).toBe(expected);
  });
});

describe("upperBoundImpact", () => {
  const { sysctl, containerd, images } = SPEC;
  const all = stepsOf(SPEC);

  it("is a restart only where containerd's step differs, comes or goes", () => {
    expect(upperBoundImpact(undefined, all)).toBe(Impact.IMPACT_RESTART);
    expect(upperBoundImpact(undefined, stepsOf({ sysctl, images }))).toBe(Impact.IMPACT_LIVE);
    expect(upperBoundImpact(all, all)).toBe(Impact.IMPACT_LIVE);
    expect(upperBoundImpact(all, stepsOf({ containerd, images }))).toBe(Impact.IMPACT_LIVE);
    expect(upperBoundImpact(all, stepsOf({ sysctl, images }))).toBe(Impact.IMPACT_RESTART);
    expect(upperBoundImpact(all, stepsOf({ ...SPEC, containerd: { ...containerd, systemdCgroup: false } }))).toBe(Impact.IMPACT_RESTART);
  });

  it("counts a step it does not know as the worst", () => {
    expect(upperBoundImpact(all, [...all, Step.create({ id: "new" })])).toBe(Impact.IMPACT_REBOOT);
  });
});
