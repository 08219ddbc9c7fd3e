import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeCrash, fakeHost, type FakeHostOptions, fakeStepContext } from "../../fake/index.ts";
import { StepError } from "../step.ts";
import { formatSysctlFile, OWN_FILE } from "./sysctl-file.ts";
import { sysctlStep } from "./sysctl-step.ts";

const SOMAXCONN = "net.core.somaxconn";
const PORTS = "net.ipv4.ip_local_port_range";

function machine(options: FakeHostOptions = {}) {
  const host = fakeHost({ sysctls: { [SOMAXCONN]: "128", [PORTS]: "32768\t60999", "vm.swappiness": "60" }, ...options });
  const context = fakeStepContext(host);
  const diff = async (values: Record<string, string>) => sysctlStep.diff({ values }, await sysctlStep.observe({ values }, context));
  const apply = async (values: Record<string, string>) => sysctlStep.apply({ values }, await diff(values), context);
  return { host, context, diff, apply };
}

async function failureOf(work: Promise<unknown>): Promise<StepError> {
  const error = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  expect(error).toBeInstanceOf(StepError);
  return error as StepError;
}

describe("the sysctl step", () => {
  it("writes its file, loads only its own keys, and is in sync afterwards", async () => {
    const { host, apply, diff } = machine();
    await apply({ [SOMAXCONN]: "4096", [PORTS]: "33000 60999" });
    expect(host.files.text(OWN_FILE)).toBe(
      [
        "# Written by drover-agent from this node's plan. It is written anew when it differs:",
        "# change the node's NodeProfile instead. Keys that leave the plan get back the value",
        "# they had before.",
        "net.core.somaxconn = 4096",
        "net.ipv4.ip_local_port_range = 33000 60999",
        "",
      ].join("\n"),
    );
    expect(host.effects.summary).toEqual([
      "memory.set ",
      `files.write ${OWN_FILE}`,
      `kernel.writeSysctl ${SOMAXCONN}`,
      `kernel.writeSysctl ${PORTS}`,
    ]);
    expect(await diff({ [SOMAXCONN]: "4096", [PORTS]: "33000\t60999" })).toEqual([]);
  });

  it("does not write a key that has its value, blanks aside", async () => {
    const { host, apply } = machine();
    await apply({ [PORTS]: "32768 60999" });
    expect(host.effects.of("kernel.writeSysctl")).toEqual([]);
  });

  it("gives a key that leaves the plan its first original back, and removes the file with the last one", async () => {
    const { host, context, apply, diff } = machine();
    await apply({ [SOMAXCONN]: "4096", "vm.swappiness": "10" });
    await apply({ [SOMAXCONN]: "8192", "vm.swappiness": "10" });
    expect(await diff({ "vm.swappiness": "10" })).toMatchObject([{ path: OWN_FILE }, { path: SOMAXCONN, from: "8192", to: "128" }]);
    await apply({ "vm.swappiness": "10" });
    expect(host.kernel.value(SOMAXCONN)).toBe("128");
    await apply(sysctlStep.emptySpec.values);
    expect(host.kernel.value("vm.swappiness")).toBe("60");
    expect(host.files.text(OWN_FILE)).toBeUndefined();
    expect(await context.memory.get()).toBeUndefined();
    expect(await diff({})).toEqual([]);
  });

  it("repairs a value that was changed by hand and says which file will change it again", async () => {
    const { host, context, apply, diff } = machine({ files: { "/etc/sysctl.d/99-other.conf": "# x\nnet.core.somaxconn = 512\n" } });
    const values = { [SOMAXCONN]: "4096" };
    await apply(values);
    host.kernel.set(SOMAXCONN, "512");
    expect(await diff(values)).toMatchObject([
      { path: SOMAXCONN, from: "512", to: "4096", note: "net.core.somaxconn is set again by /etc/sysctl.d/99-other.conf:2 to 512" },
    ]);
    await apply(values);
    expect(await diff(values)).toEqual([]);
    expect(sysctlStep.conditions({ values }, await sysctlStep.observe({ values }, context))).toMatchObject([
      { type: "SysctlShadowed", status: "True", reason: "OtherFileWins" },
    ]);
  });

  it("finds shadows through a merged /usr and does not read what links hide", async () => {
    const { context, diff } = machine({
      files: {
        "/lib": { linkTo: "usr/lib" },
        "/usr/lib/sysctl.d/99-vendor.conf": "net.core.somaxconn = 1\n",
        "/usr/lib/sysctl.d/98-masked.conf": "vm.swappiness = 1\n",
        "/etc/sysctl.d/98-masked.conf": { linkTo: "/dev/null" },
      },
    });
    const values = { [SOMAXCONN]: "4096", "vm.swappiness": "10" };
    expect((await diff(values)).filter((change) => change.note !== "").map((change) => change.path)).toEqual([SOMAXCONN]);
    const [condition] = sysctlStep.conditions({ values }, await sysctlStep.observe({ values }, context));
    expect(condition?.message).toContain("/usr/lib/sysctl.d/99-vendor.conf:1");
  });

  it("sets what it can and fails for a key that the kernel does not have, until its module is loaded", async () => {
    const { host, apply, diff } = machine();
    const values = { [SOMAXCONN]: "4096", "net.bridge.bridge-nf-call-iptables": "1" };
    expect(await diff(values)).toContainEqual(
      expect.objectContaining({ path: "net.bridge.bridge-nf-call-iptables", from: "", note: expect.stringContaining("module") }),
    );
    expect(await failureOf(apply(values))).toMatchObject({ reason: "SysctlUnknownKey", isRetryable: true });
    expect(host.kernel.value(SOMAXCONN)).toBe("4096");
    host.kernel.set("net.bridge.bridge-nf-call-iptables", "0");
    await apply(values);
    expect(await diff(values)).toEqual([]);
  });

  it("names both values when the kernel makes something else of one", async () => {
    const { host, apply } = machine();
    host.kernel.ignoreWrites(SOMAXCONN);
    expect(await failureOf(apply({ [SOMAXCONN]: "4096" }))).toMatchObject({
      reason: "SysctlClamped",
      message: "net.core.somaxconn: wrote 4096, the kernel made it 128",
    });
  });

  it.each([
    ["EINVAL", "SysctlRejected"],
    ["EACCES", "SysctlReadOnly"],
    ["EROFS", "SysctlReadOnly"],
  ])("%s is the expected failure %s", async (code, reason) => {
    const { host, apply } = machine();
    host.effects.fail("kernel.writeSysctl", Object.assign(new Error("no"), { code }));
    expect(await failureOf(apply({ [SOMAXCONN]: "4096" }))).toMatchObject({ reason, isRetryable: false });
  });

  it("tries a refused key once more when its neighbours are set", async () => {
    const { host, apply, diff } = machine({ sysctls: { "net.core.rmem_default": "1000", "net.core.rmem_max": "2000" } });
    host.effects.fail("kernel.writeSysctl", Object.assign(new Error("no"), { code: "EINVAL" }), { target: "net.core.rmem_default" });
    const values = { "net.core.rmem_default": "300000", "net.core.rmem_max": "400000" };
    await apply(values);
    expect(await diff(values)).toEqual([]);
  });

  it.each([
    [{ "kernel.core_pattern": "|/bin/sh" }, "SysctlDenied"],
    [{ "kernel.no_such_thing": "1" }, "SysctlDenied"],
    [{ "vm.swappiness": "100000" }, "SysctlOutOfRange"],
    [{ [PORTS]: "1024 65535" }, "PortRangeOverlap"],
    [{ "vm.dirty_ratio": "10", "vm.dirty_bytes": "100000000" }, "SysctlConflict"],
  ])("refuses %j: %s", async (values, reason) => {
    const { context } = machine();
    expect(sysctlStep.refuse({ values }, await sysctlStep.observe({ values }, context))?.reason).toBe(reason);
  });

  it("only writes the file on an image", async () => {
    const { host, apply, diff } = machine({ isLive: false, sysctls: {} });
    await apply({ [SOMAXCONN]: "4096" });
    expect(host.effects.summary).toEqual([`files.write ${OWN_FILE}`]);
    expect(await diff({ [SOMAXCONN]: "4096" })).toEqual([]);
    await apply({});
    expect(host.files.text(OWN_FILE)).toBeUndefined();
  });

  it("killed before any effect and run again, ends the same and still knows the originals", async () => {
    const first = { [SOMAXCONN]: "4096", "vm.swappiness": "10" };
    const second = { [SOMAXCONN]: "8192" };
    for (const next of [second, {}]) {
      for (let survived = 0; survived < 20; survived += 1) {
        const { host, context, apply, diff } = machine();
        host.effects.crashAfter(survived);
        const isDead = await runAll([() => apply(first), () => apply(next)]);
        host.effects.revive();
        await apply(next);
        expect(await diff(next)).toEqual([]);
        await apply({});
        expect([host.kernel.value(SOMAXCONN), host.kernel.value("vm.swappiness"), await context.memory.get()]).toEqual([
          "128",
          "60",
          undefined,
        ]);
        if (!isDead) break;
        expect(survived).toBeLessThan(19);
      }
    }
  });

  it("property: whatever plans follow each other, the last is enforced, and without a plan all is as before", async () => {
    const values = fc.dictionary(fc.constantFrom(SOMAXCONN, "vm.swappiness"), fc.integer({ min: 1, max: 100 }).map(String));
    await fc.assert(
      fc.asyncProperty(fc.array(values, { minLength: 1, maxLength: 5 }), async (plans) => {
        const { host, context, apply, diff } = machine();
        for (const plan of plans) {
          await apply(plan);
          expect(await diff(plan)).toEqual([]);
          expect(host.files.text(OWN_FILE)).toBe(Object.keys(plan).length === 0 ? undefined : formatSysctlFile(plan));
        }
        await apply({});
        expect([host.kernel.value(SOMAXCONN), host.kernel.value("vm.swappiness"), await context.memory.get()]).toEqual([
          "128",
          "60",
          undefined,
        ]);
      }),
    );
  });
});

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
