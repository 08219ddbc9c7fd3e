import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BinariesSpec, type Change, Impact } from "@drover/proto";
import { FakeCrash, fakeHost, type FakeHostOptions, fakeSourceDigest, fakeStepContext } from "../../fake/index.ts";
import { binariesStep } from "./binaries-step.ts";
import { STORE } from "./store.ts";

const KUBELET = "/usr/bin/kubelet";
const BRIDGE = "/opt/cni/bin/bridge";
const cni = (version: string) => ({ "./bridge": `bridge ${version}`, "./host-local": `host-local ${version}` });
const SOURCES = {
  "https://dl/kubelet-1": "kubelet 1",
  "https://dl/kubelet-2": "kubelet 2",
  "https://dl/kubelet-3": "kubelet 3",
  "https://dl/cni-1": cni("1"),
  "https://dl/cni-2": cni("2"),
} as const;

type Version = "1" | "2" | "3";
const digestAt = (source: keyof typeof SOURCES) => fakeSourceDigest(SOURCES[source]);
const kubelet = (version: Version) => ({
  name: "kubelet",
  source: `https://dl/kubelet-${version}`,
  digest: digestAt(`https://dl/kubelet-${version}`),
  files: [{ target: KUBELET }],
  restarts: ["kubelet.service"],
});
const plugins = (version: "1" | "2") => ({
  name: "cni-plugins",
  source: `https://dl/cni-${version}`,
  digest: digestAt(`https://dl/cni-${version}`),
  files: [
    { member: "./bridge", target: BRIDGE },
    { member: "./host-local", target: "/opt/cni/bin/host-local" },
  ],
});
const specOf = (...binaries: object[]) => BinariesSpec.fromPartial({ binaries });

function machine(options: FakeHostOptions = {}) {
  const host = fakeHost({
    sources: SOURCES,
    activeUnits: ["kubelet.service"],
    files: { [KUBELET]: { content: "the package's", mode: 0o755 } },
    ...options,
  });
  const context = fakeStepContext(host);
  const observe = (spec: BinariesSpec) => binariesStep.observe(spec, context);
  const diff = async (spec: BinariesSpec): Promise<readonly Change[]> => binariesStep.diff(spec, await observe(spec));
  const apply = async (spec: BinariesSpec) => binariesStep.apply(spec, await diff(spec), context);
  /** What running the target would run. */
  const reached = async (target: string) => {
    const link = await host.files.readLink(target);
    return host.files.text(link ?? target);
  };
  const state = () => Object.fromEntries(host.files.paths.map((path) => [path, host.files.text(path)]));
  return { host, context, observe, diff, apply, reached, state };
}

describe("the binaries step", () => {
  it("fetches, keeps what was there, switches, restarts what runs it, and is in sync afterwards", async () => {
    const { host, context, apply, diff, reached } = machine();
    const spec = specOf(kubelet("1"), plugins("1"));
    expect(await diff(spec)).toMatchObject([
      {
        path: KUBELET,
        from: "another file",
        impact: Impact.IMPACT_RESTART,
        note: expect.stringContaining("restarts kubelet.service") as string,
      },
      { path: BRIDGE, from: "", to: `cni-plugins ${digestAt("https://dl/cni-1")}`, impact: Impact.IMPACT_LIVE },
      { path: "/opt/cni/bin/host-local" },
    ]);
    await apply(spec);
    expect([await reached(KUBELET), await reached(BRIDGE), await reached("/opt/cni/bin/host-local")]).toEqual([
      "kubelet 1",
      "bridge 1",
      "host-local 1",
    ]);
    expect(host.files.text(`${KUBELET}.before-drover`)).toBe("the package's");
    expect(host.effects.of("units.restart").map(({ target }) => target)).toEqual(["kubelet.service"]);
    expect(await diff(spec)).toEqual([]);
    expect(context.progressed.map(({ item, phase }) => `${item} ${phase}`)).toEqual([
      "kubelet 1",
      "kubelet 2",
      "kubelet 3",
      "cni-plugins 1",
      "cni-plugins 2",
      "cni-plugins 3",
    ]);
    host.effects.clear();
    await apply(spec);
    expect(host.effects.summary).toEqual([]);
  });

  it("restarts nothing that does not run", async () => {
    const { host, apply, diff } = machine({ activeUnits: [] });
    expect(await diff(specOf(kubelet("1")))).toMatchObject([{ impact: Impact.IMPACT_LIVE }]);
    await apply(specOf(kubelet("1")));
    expect(host.effects.of("units.restart")).toEqual([]);
  });

  it("goes back to the version before without fetching it again, and forgets older ones", async () => {
    const { host, apply, reached } = machine();
    for (const version of ["1", "2", "1", "2", "3"] as const) await apply(specOf(kubelet(version)));
    expect(host.effects.of("downloads.fetch").map(({ target }) => target)).toEqual(
      [1, 2, 3].map((version) => `https://dl/kubelet-${version}`),
    );
    expect(await reached(KUBELET)).toBe("kubelet 3");
    const kept = host.files.paths.filter((path) => path.startsWith(STORE)).map((path) => host.files.text(path) ?? "");
    expect(kept.toSorted()).toEqual(["kubelet 2", "kubelet 3"]);
  });

  it("puts back what was there before, and leaves nothing behind", async () => {
    const { host, context, apply, diff, state } = machine();
    const before = state();
    await apply(specOf(kubelet("1"), plugins("1")));
    await apply(specOf(plugins("1")));
    expect(host.files.text(KUBELET)).toBe("the package's");
    expect(host.effects.of("units.restart")).toHaveLength(2);
    await apply(specOf());
    expect([state(), await context.memory.get(), await diff(specOf())]).toEqual([before, undefined, []]);
  });

  it("repairs a target and a stored file that were changed by hand, and keeps what a package has put there", async () => {
    const { host, apply, diff, reached } = machine();
    const spec = specOf(kubelet("1"), plugins("1"));
    await apply(spec);
    host.files.put(KUBELET, { content: "the package's next", mode: 0o755 });
    expect(await diff(spec)).toMatchObject([{ path: KUBELET, from: "another file" }]);
    await apply(spec);
    host.files.put((await host.files.readLink(BRIDGE))!, { content: "evil", mode: 0o755 });
    expect(await diff(spec)).toMatchObject([{ path: BRIDGE, note: "is fetched" }]);
    await apply(spec);
    expect([await reached(KUBELET), await reached(BRIDGE), await diff(spec)]).toEqual(["kubelet 1", "bridge 1", []]);
    await apply(specOf());
    expect(host.files.text(KUBELET)).toBe("the package's next");
  });

  it("restarts what runs a stored file that was changed by hand, whenever it is killed on the way", async () => {
    const spec = specOf(kubelet("1"));
    for (let survived = 0; ; survived += 1) {
      const { host, apply, diff, reached } = machine();
      await apply(spec);
      host.files.put((await host.files.readLink(KUBELET))!, { content: "evil", mode: 0o755 });
      host.effects.clear();
      host.effects.crashAfter(survived);
      const isDead = await runAll([() => apply(spec)]);
      host.effects.revive();
      await apply(spec);
      expect([await reached(KUBELET), await diff(spec)]).toEqual(["kubelet 1", []]);
      expect(host.effects.of("units.restart").length).toBeGreaterThan(0);
      if (!isDead) break;
      expect(survived).toBeLessThan(20);
    }
  });

  it("leaves a target to whoever has taken it, when it leaves the plan", async () => {
    const { host, apply } = machine({ files: {} });
    await apply(specOf(plugins("1")));
    host.files.put(BRIDGE, { linkTo: "/opt/other/bridge" });
    await apply(specOf());
    expect(await host.files.readLink(BRIDGE)).toBe("/opt/other/bridge");
  });

  it("hashes what it has verified only when it may have changed", async () => {
    const { host, apply, observe } = machine();
    const spec = specOf(kubelet("1"));
    await apply(spec);
    const digest = host.files.digest.bind(host.files);
    let hashed = 0;
    host.files.digest = (path) => {
      hashed += 1;
      return digest(path);
    };
    const path = (await host.files.readLink(KUBELET))!;
    await observe(spec);
    expect(hashed).toBe(0);
    host.files.put(path, { content: "kubelet 1", mode: 0o755 });
    for (let scan = 0; scan < 3; scan += 1) expect((await observe(spec)).stored).toEqual([path]);
    expect(hashed).toBe(1);
  });

  it("switches nothing when one of several cannot be had", async () => {
    const { host, apply } = machine();
    host.downloads.serve("https://dl/cni-1", undefined);
    await expect(apply(specOf(kubelet("1"), plugins("1")))).rejects.toMatchObject({ reason: "SourceUnreachable", isRetryable: true });
    expect([host.files.text(KUBELET), host.effects.of("units.restart")]).toEqual(["the package's", []]);
    host.downloads.serve("https://dl/cni-1", "something else");
    await expect(apply(specOf(plugins("1")))).rejects.toMatchObject({ reason: "DigestMismatch", isRetryable: false });
    host.files.setFreeBytes(1000);
    await expect(apply(specOf(kubelet("2")))).rejects.toMatchObject({ reason: "DiskBudgetExceeded", isRetryable: true });
    const missing = { ...plugins("2"), files: [{ member: "none", target: BRIDGE }] };
    host.files.setFreeBytes(2 ** 40);
    await expect(apply(specOf(missing))).rejects.toMatchObject({ reason: "MemberMissing", isRetryable: false });
  });

  it("owes a restart until it has happened", async () => {
    const { host, apply, diff } = machine();
    const failure = Object.assign(new Error("systemctl restart kubelet.service ended with 1"), { code: "UNIT_FAILED" });
    host.effects.fail("units.restart", failure);
    await expect(apply(specOf(kubelet("1")))).rejects.toMatchObject({ reason: "RestartFailed", isRetryable: true });
    expect(await diff(specOf(kubelet("1")))).toMatchObject([{ path: "kubelet.service", impact: Impact.IMPACT_RESTART }]);
    await apply(specOf(kubelet("1")));
    expect(await diff(specOf(kubelet("1")))).toEqual([]);
  });

  it("forgets a remembered restart of the agent itself, which would end it before it is forgotten", async () => {
    const { host, context, diff, apply } = machine({ activeUnits: ["kubelet.service", "drover-agent.service"] });
    await context.memory.set({ owed: ["drover-agent.service"] });
    expect((await diff(specOf(kubelet("1")))).map(({ path }) => path)).toEqual([KUBELET]);
    await apply(specOf(kubelet("1")));
    expect(host.effects.of("units.restart").map(({ target }) => target)).toEqual(["kubelet.service"]);
    expect(await context.memory.get()).toMatchObject({ owed: [] });
  });

  it("keeps owing a restart while systemd does not tell whether the unit runs", async () => {
    const { host, apply, diff } = machine();
    const isActive = host.units.isActive.bind(host.units);
    host.units.isActive = (unit, signal) => {
      if (host.files.text(KUBELET) === "the package's") return isActive(unit, signal);
      return Promise.reject(Object.assign(new Error("no bus"), { code: "UNIT_FAILED" }));
    };
    await expect(apply(specOf(kubelet("1")))).rejects.toMatchObject({ reason: "RestartFailed", isRetryable: true });
    host.units.isActive = isActive;
    expect(await diff(specOf(kubelet("1")))).toMatchObject([{ path: "kubelet.service", impact: Impact.IMPACT_RESTART }]);
  });

  it.each([
    ["a directory that is not for programs", { files: [{ target: "/etc/cron.d/x" }] }],
    ["a program of the system", { files: [{ target: "/usr/bin/bash" }] }],
    ["a path that climbs", { files: [{ target: "/usr/local/bin/../../../etc/x" }] }],
    ["a member that climbs", { files: [{ member: "../x", target: BRIDGE }] }],
    ["a digest that is a path", { digest: "sha256:../../etc" }],
    ["a unit that is an option", { restarts: ["--now"] }],
    ["the agent's own unit", { restarts: ["drover-agent.service"] }],
    ["a source with a password", { source: "https://a:b@dl/x" }],
  ])("refuses %s", async (_what, parts) => {
    const { observe } = machine();
    const spec = specOf({ ...kubelet("1"), ...parts });
    expect(binariesStep.refuse(spec, await observe(spec))).toMatchObject({ reason: "BinaryNotAllowed" });
  });

  it("refuses a target below a link, or below what is not root's own", async () => {
    for (const files of [
      { "/opt/cni": { linkTo: "/home/somebody" } },
      { "/opt/cni/bin": { content: "", uid: 1000 } },
      { "/opt/cni": "no directory" },
    ]) {
      const { observe } = machine({ files });
      expect(binariesStep.refuse(specOf(plugins("1")), await observe(specOf(plugins("1"))))).toMatchObject({ reason: "UnsafeDirectory" });
    }
  });

  it("works on an image, where nothing is restarted", async () => {
    const { host, apply, diff, reached } = machine({ isLive: false });
    await apply(specOf(kubelet("1"), plugins("1")));
    expect([await reached(KUBELET), await reached(BRIDGE)]).toEqual(["kubelet 1", "bridge 1"]);
    expect([await diff(specOf(kubelet("1"), plugins("1"))), host.effects.of("units.restart")]).toEqual([[], []]);
  });

  it("killed before any effect and run again, ends the same with the kubelet restarted, and without a plan all is as before", async () => {
    const first = specOf(kubelet("1"), plugins("1"));
    for (const next of [specOf(kubelet("2"), plugins("2")), specOf(kubelet("1")), specOf()]) {
      for (let survived = 0; ; survived += 1) {
        let running = "the package's";
        const { host, context, apply, diff, reached, state } = machine({
          onRestart: (_unit, { files }) => {
            running = files.text(
              (files.paths.includes(KUBELET) && files.text(KUBELET)?.startsWith(STORE) ? files.text(KUBELET) : KUBELET)!,
            )!;
          },
        });
        const before = state();
        host.effects.crashAfter(survived);
        const isDead = await runAll([() => apply(first), () => apply(next)]);
        expect(await whileDead(host, () => reached(KUBELET)), `after ${survived}`).toBeDefined();
        await apply(next);
        expect(await diff(next)).toEqual([]);
        expect(running, `after ${survived}`).toBe(await reached(KUBELET));
        await apply(specOf());
        expect([state(), await context.memory.get(), running], `after ${survived}`).toEqual([before, undefined, "the package's"]);
        if (!isDead) break;
        expect(survived).toBeLessThan(100);
      }
    }
  });

  it("property: whatever plans follow each other, the last is enforced, and without a plan all is as before", async () => {
    const plan = fc.record({
      kubelet: fc.constantFrom(undefined, "1" as const, "2" as const, "3" as const),
      cni: fc.constantFrom(undefined, "1" as const, "2" as const),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(plan, { minLength: 1, maxLength: 6 }), async (plans) => {
        const { apply, context, diff, reached, state } = machine();
        const before = state();
        for (const each of plans) {
          const spec = specOf(...(each.kubelet ? [kubelet(each.kubelet)] : []), ...(each.cni ? [plugins(each.cni)] : []));
          await apply(spec);
          expect(await diff(spec)).toEqual([]);
          expect(await reached(KUBELET)).toBe(each.kubelet ? `kubelet ${each.kubelet}` : "the package's");
          expect(await reached(BRIDGE)).toBe(each.cni ? `bridge ${each.cni}` : undefined);
        }
        await apply(specOf());
        expect([state(), await context.memory.get()]).toEqual([before, undefined]);
      }),
    );
  });
});

/** Looks at the machine of a dead agent; it is alive again afterwards. */
async function whileDead<T>(host: ReturnType<typeof machine>["host"], look: () => Promise<T>): Promise<T> {
  host.effects.revive();
  return look();
}

/** @returns whether the fake agent died on the way */
async function runAll(works: readonly (() => Promise<void>)[]): Promise<boolean> {
  try {
    for (const work of works) await work();
    return false;
  } catch (error) {
    if (!(error instanceof FakeCrash)) throw error;
    return true;
  }
}
