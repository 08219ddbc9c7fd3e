import { describe, expect, it } from "vitest";
import { FakeCrash, fakeHost, type FakeHostOptions, fakeStepContext } from "../../fake/index.ts";
import { ModuleFailed } from "../../host/module-port.ts";
import { kernelModulesStep } from "./kernel-modules-step.ts";
import { blocksOf, OWN_FILE } from "./module-file.ts";

const NAMES = ["br_netfilter", "overlay"];

function machine(options: FakeHostOptions = {}) {
  const host = fakeHost({ modules: { builtin: ["overlay"], loadable: ["br_netfilter", "ip_vs"] }, ...options });
  const context = fakeStepContext(host);
  const observe = (names: string[]) => kernelModulesStep.observe({ names }, context);
  const diff = async (names: string[]) => kernelModulesStep.diff({ names }, await observe(names));
  const apply = async (names: string[]) => kernelModulesStep.apply({ names }, await diff(names), context);
  return { host, context, observe, diff, apply };
}

describe("the kernel modules step", () => {
  it("loads what is absent, names all for the next boot, and is in sync afterwards", async () => {
    const { host, apply, diff } = machine();
    expect(await diff(NAMES)).toMatchObject([
      { path: OWN_FILE, from: "", to: "br_netfilter overlay" },
      { path: "module br_netfilter", from: "", to: "loaded" },
    ]);
    await apply(NAMES);
    expect(host.effects.summary).toEqual(["memory.set ", `files.write ${OWN_FILE}`, "modules.load br_netfilter"]);
    expect(host.files.text(OWN_FILE)).toMatch(/^# Written by drover-agent[^]*\nbr_netfilter\noverlay\n$/);
    expect(await diff(NAMES)).toEqual([]);
    expect(await diff(["br-netfilter", "overlay"])).toMatchObject([{ path: OWN_FILE }]);
  });

  it("repairs what was unloaded or edited by hand", async () => {
    const { host, apply, diff } = machine();
    await apply(NAMES);
    host.modules.unload("br_netfilter");
    host.files.put(OWN_FILE, "");
    expect(await diff(NAMES)).toMatchObject([{ path: OWN_FILE, from: "no modules" }, { path: "module br_netfilter" }]);
    await apply(NAMES);
    expect(await diff(NAMES)).toEqual([]);
  });

  it("takes its file back and unloads nothing, and says so", async () => {
    const { host, context, apply, diff } = machine();
    await apply(NAMES);
    expect(await diff([])).toMatchObject([{ path: OWN_FILE, to: "", note: "what is loaded stays loaded until the next boot" }]);
    await apply([]);
    expect([host.files.text(OWN_FILE), host.modules.names, await context.memory.get()]).toEqual([undefined, NAMES, undefined]);
    expect(await diff([])).toEqual([]);
  });

  it("loads the others and names the one that this kernel does not have", async () => {
    const { host, apply } = machine();
    await expect(apply(["no_such", "ip_vs"])).rejects.toMatchObject({ reason: "ModuleNotFound", isRetryable: false });
    expect(host.modules.names).toContain("ip_vs");
  });

  it("says which line may be why a module was rejected, and may try again", async () => {
    const { host, apply, context, observe, diff } = machine({
      files: { "/etc/modprobe.d/x.conf": "# x\ninstall br-netfilter /bin/false\n" },
    });
    host.effects.fail("modules.load", new ModuleFailed("ModuleRejected", "br_netfilter: modprobe ended with 1: no"));
    expect(await diff(NAMES)).toContainEqual(expect.objectContaining({ note: "/etc/modprobe.d/x.conf:2 runs a command in its place" }));
    await expect(apply(NAMES)).rejects.toMatchObject({
      reason: "ModuleRejected",
      isRetryable: true,
      message: expect.stringContaining("/etc/modprobe.d/x.conf:2") as string,
    });
    expect(kernelModulesStep.conditions({ names: NAMES }, await observe(NAMES))).toMatchObject([
      { type: "ModulesBlocked", status: "True" },
    ]);
    expect(context.progressed).toHaveLength(1);
  });

  it("refuses names that are options or paths", async () => {
    const { observe } = machine();
    for (const name of ["--remove", "../x", "a b", ""]) {
      expect(kernelModulesStep.refuse({ names: [name] }, await observe([name]))?.reason).toBe("ModuleNameInvalid");
    }
  });

  it("only writes the file on an image", async () => {
    const { host, apply, diff } = machine({ isLive: false });
    expect(await diff(NAMES)).toMatchObject([{ path: OWN_FILE }]);
    await apply(NAMES);
    expect([host.effects.of("modules.load"), await diff(NAMES)]).toEqual([[], []]);
  });

  it("killed before any effect and run again, ends the same, and without a plan all is as before", async () => {
    for (const next of [["ip_vs"], []]) {
      for (let survived = 0; ; survived += 1) {
        const { host, context, apply, diff } = machine();
        host.effects.crashAfter(survived);
        const isDead = await runAll([() => apply(NAMES), () => apply(next)]);
        host.effects.revive();
        await apply(next);
        expect(await diff(next)).toEqual([]);
        await apply([]);
        expect([host.files.text(OWN_FILE), await context.memory.get()]).toEqual([undefined, undefined]);
        if (!isDead) break;
        expect(survived).toBeLessThan(20);
      }
    }
  });
});

describe("what keeps modules from being loaded", () => {
  it("is found in modprobe.d and on the kernel's command line", () => {
    const text = "blacklist a-b\n #blacklist c\nalias x c\n\ninstall d /bin/true\n";
    expect(blocksOf([{ path: "/x.conf", text }], "quiet module_blacklist=e,f modprobe.blacklist=g")).toEqual([
      { module: "a_b", where: "/x.conf:1", how: "blacklist" },
      { module: "d", where: "/x.conf:5", how: "install" },
      { module: "e", where: "the kernel's command line", how: "kernel" },
      { module: "f", where: "the kernel's command line", how: "kernel" },
      { module: "g", where: "the kernel's command line", how: "blacklist" },
    ]);
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
