import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EffectLog, FakeCommands, type FakeProgram } from "../fake/index.ts";
import { KernelModules } from "./kernel-modules.ts";
import { ProcSwaps } from "./proc-swaps.ts";

const never = new AbortController().signal;
const RELEASE = "6.1.0-test";
let root: string;
let effects: EffectLog;
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "drover-modules-")));
  effects = new EffectLog();
  await put("proc/sys/kernel/osrelease", `${RELEASE}\n`);
});
afterEach(() => rm(root, { recursive: true }));

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}

function modules(modprobe?: FakeProgram): KernelModules {
  return new KernelModules(new FakeCommands(effects, modprobe === undefined ? {} : { "/usr/sbin/modprobe": modprobe }), root);
}

describe("modules of the running kernel", () => {
  it("are there by /proc/modules, /sys/module, modules.builtin, or what they do", async () => {
    await put("proc/modules", "br_netfilter 32768 0 - Live 0x0\nleaving 1 0 - Unloading 0x0\n");
    await put("sys/module/ip_vs/parameters/x", "");
    await put(`lib/modules/${RELEASE}/modules.builtin`, "kernel/net/netfilter/nf-tables.ko\nkernel/fs/ext4/ext4.ko\n");
    await put("proc/filesystems", "nodev\toverlay\n\txfs\n");
    await put("proc/misc", "200 tun\n236 device-mapper\n");
    await put("proc/sys/net/netfilter/nf_conntrack_max", "1");
    await put("proc/net/ip_tables_matches", "conntrack\n");
    const found: Record<string, unknown> = {};
    const names =
      "br-netfilter leaving ip_vs nf_tables ext4 overlay xfs tun dm_mod nf_conntrack xt_conntrack xt_mark ip_tables nodev".split(" ");
    for (const name of names) found[name] = await modules().presence(name, never);
    expect(found).toEqual({
      "br-netfilter": "loaded",
      leaving: undefined,
      ip_vs: "builtin",
      nf_tables: "builtin",
      ext4: "builtin",
      overlay: "builtin",
      xfs: "builtin",
      tun: "builtin",
      dm_mod: "builtin",
      nf_conntrack: "builtin",
      xt_conntrack: "builtin",
      xt_mark: undefined,
      ip_tables: undefined,
      nodev: undefined,
    });
  });

  it("are known by their aliases, which are asked for once", async () => {
    await put("proc/modules", "overlay 1 0 - Live 0x0\n");
    const known = modules(() => ({ stdout: "overlay\n" }));
    expect([await known.presence("fs-overlay", never), await known.presence("fs-overlay", never)]).toEqual(["loaded", "loaded"]);
    expect(effects.summary).toEqual(["commands.run /usr/sbin/modprobe --resolve-alias fs-overlay"]);
  });

  it("are not found when the disk does not have them, and say what is missing", async () => {
    const failing = modules(() => ({ exitCode: 1, stderr: "FATAL" }));
    await expect(modules().load("a", never)).rejects.toMatchObject({
      reason: "ModuleNotFound",
      message: expect.stringContaining("install kmod") as string,
    });
    await expect(failing.load("a", never)).rejects.toMatchObject({
      reason: "ModuleNotFound",
      message: expect.stringContaining(`there is no /lib/modules/${RELEASE}`) as string,
    });
    await put(`lib/modules/${RELEASE}/modules.dep`, "");
    await expect(failing.load("a", never)).rejects.toMatchObject({
      reason: "ModuleNotFound",
      message: expect.stringContaining(`the kernel ${RELEASE} has no such module`) as string,
    });
    const rejecting = modules(({ args }) => (args[0] === "--show-depends" ? {} : { exitCode: 1, stderr: "Operation not permitted" }));
    await expect(rejecting.load("a", never)).rejects.toMatchObject({
      reason: "ModuleRejected",
      message: "a: modprobe ended with 1: Operation not permitted",
    });
    await expect(failing.load("--all", never)).rejects.toThrow(RangeError);
  });
});

describe("swap of the running kernel", () => {
  const HEADER = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

  it("is read from /proc, whatever the paths hold", async () => {
    await put(
      "proc/swaps",
      `${HEADER}/dev/sda2                               partition\t1024\t\t8\t\t-2\n/swap\\040file                            file\t\t2048\t\t0\t\t5\n`,
    );
    await put("proc/meminfo", "MemTotal: 4 kB\nMemAvailable:    3 kB\n");
    const swaps = new ProcSwaps(new FakeCommands(effects, {}), join(root, "proc"));
    expect(await swaps.list()).toEqual([
      { path: "/dev/sda2", kind: "partition", sizeBytes: 1_048_576, usedBytes: 8192, priority: -2 },
      { path: "/swap file", kind: "file", sizeBytes: 2_097_152, usedBytes: 0, priority: 5 },
    ]);
    expect(await swaps.availableBytes()).toBe(3072);
    expect(await new ProcSwaps(new FakeCommands(effects, {}), join(root, "none")).list()).toEqual([]);
  });

  it("is switched by fixed arguments, and only when it is not so already", async () => {
    await put("proc/swaps", `${HEADER}/dev/sda2 partition 1024 8 -2\n`);
    const commands = new FakeCommands(effects, {
      "/usr/sbin/swapoff": () => ({}),
      "/sbin/swapon": () => ({ exitCode: 255, stderr: "no" }),
    });
    const swaps = new ProcSwaps(commands, join(root, "proc"));
    await swaps.off("/dev/sda2", never);
    await swaps.off("/dev/other", never);
    await swaps.on("/dev/sda2", 5, never);
    await expect(swaps.on("/swap", 5, never)).rejects.toThrow("swapon --priority 5 /swap ended with 255: no");
    await expect(swaps.on("--all", undefined, never)).rejects.toThrow(RangeError);
    expect(effects.of("commands.run").map(({ target }) => target)).toEqual([
      "/usr/sbin/swapoff /dev/sda2",
      "/sbin/swapon --priority 5 /swap",
    ]);
  });
});
