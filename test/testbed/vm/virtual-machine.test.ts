/** Takes minutes, therefore by its own word only: DROVER_VM=1 vitest run test/testbed/vm */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../program.ts";
import { isThere } from "../roots/cache.ts";
import { Site } from "../site.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

const apiVersion = "drover.dev/v1alpha1";
const TABLE = "net.ipv4.neigh.default.gc_thresh3";

interface NodeList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly status: {
      readonly lastHeartbeatTime?: string;
      readonly health: string;
      readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    };
  }[];
}

describe.skipIf(process.env["DROVER_VM"] !== "1")("the virtual machine (by DROVER_VM=1)", { timeout: 400_000 }, () => {
  let site: Site;
  let machine: VirtualMachine;
  beforeAll(async () => {
    site = await Site.make();
    machine = await site.addMachine("vm-1", { role: "web" }, { kind: "vm" });
  }, 900_000);
  afterAll(async () => {
    await site[Symbol.asyncDispose]();
    expect(await isThere(site.bed.directory)).toBe(false);
  }, 60_000);

  async function sh(script: string): Promise<string> {
    const result = await machine.run("sh", ["-c", script]);
    expect(result, script).toMatchObject({ exitCode: 0 });
    return result.stdout;
  }

  async function lastHeartbeat(): Promise<number> {
    const { items } = JSON.parse(await site.mustDrover(["get", "nodes", "-o", "json"])) as NodeList;
    const status = items.find(({ metadata }) => metadata.name === "vm-1")?.status;
    return status?.health === "healthy" ? Date.parse(status.lastHeartbeatTime ?? "") : 0;
  }

  it("runs programs as they are: endings, input, bytes, deadlines", async () => {
    expect(await machine.run("sh", ["-c", "cat; echo err >&2; exit 7"], { input: "in" })).toEqual({
      exitCode: 7,
      stdout: "in",
      stderr: "err",
    });
    expect(await machine.run("/nosuch", [])).toMatchObject({ exitCode: 127 });
    const bytes = randomBytes(1_000_000);
    expect((await machine.runForBytes("cat", [], { input: bytes })).stdout.equals(bytes)).toBe(true);
    await expect(machine.run("sleep", ["1000"], { timeoutMs: 500 })).rejects.toThrow("took longer than 500 ms");
    await eventually("what took too long is gone", 60_000, async () => (await machine.run("pgrep", ["-x", "sleep"])).exitCode === 1);
    const log = join(site.bed.directory, "spawned.log");
    const spawned = await machine.spawn("sh", ["-c", "echo there; trap 'exit 3' TERM; while :; do sleep 0.1; done"], log);
    await eventually("what it wrote is there", 60_000, async () => (await spawned.log()) === "there\n");
    await spawned.stop();
    expect(await spawned.ended).toBe(3);
  });

  it("has a kernel of its own: modules, swap and the settings that containers share with their host", async () => {
    expect(await sh("cat /proc/swaps")).toContain("/dev/vdb");
    expect(await sh("sysctl -n vm.overcommit_memory; sysctl -q -w vm.overcommit_memory=1; sysctl -n vm.overcommit_memory")).toBe("0\n1");
    expect(await sh("modprobe br_netfilter && grep -c ^br_netfilter /proc/modules")).toBe("1");
    expect(await sh("swapoff -a && tail -n +2 /proc/swaps")).toBe("");
    expect(await machine.run("crictl", ["info"])).toMatchObject({ exitCode: 0 });
  });

  it("restarts a service that is killed", async () => {
    await machine.addService("sleeper", "echo hello\nexec sleep 1000\n");
    const first = await eventually("it runs", 60_000, () => machine.servicePid("sleeper"));
    await sh(`kill -9 ${first}`);
    await eventually("it runs again", 60_000, async () => ((await machine.servicePid("sleeper")) ?? first) !== first);
    await eventually("both starts are counted", 60_000, async () => (await machine.serviceStarts("sleeper")) === 2);
    expect((await machine.serviceLog("sleeper")).match(/^hello$/gm)).toHaveLength(2);
  });

  it("has an agent that enrols, beats, and sets what the whole kernel shares", async () => {
    await eventually("it is healthy", 60_000, async () => (await lastHeartbeat()) > 0);
    const manifest = await site.manifest(
      "neighbours",
      { apiVersion, kind: "NodeProfile", metadata: { name: "web" }, spec: { sysctl: { values: { [TABLE]: "100000" } } } },
      { apiVersion, kind: "NodeSet", metadata: { name: "web" }, spec: { selector: { matchLabels: { role: "web" } }, profile: "web" } },
    );
    await site.mustDrover(["apply", "-f", manifest]);
    await eventually("the table has room", 120_000, async () => (await sh(`sysctl -n ${TABLE}`)) === "100000");
    await eventually("the coordinator knows it", 120_000, async () => {
      const { items } = JSON.parse(await site.mustDrover(["get", "nodes", "-o", "json"])) as NodeList;
      return items[0]?.status.conditions?.some(({ type, status }) => type === "InSync" && status === "True");
    });
  });

  it("keeps what was flushed when the power is cut, and its agent has put everything back when it is up again", async () => {
    const before = machine.bootId;
    await sh("echo kept > /root/kept && sync /root/kept /root && echo lost > /run/lost");
    await machine.powerCut();
    await expect(machine.run("true", [])).rejects.toThrow("powered off");
    const cut = Date.now();
    await machine.boot();
    expect(machine.bootId).not.toBe(before);
    expect(await machine.readFile("/root/kept")).toBe("kept");
    expect((await machine.run("test", ["-e", "/run/lost"])).exitCode).toBe(1);
    await eventually("the table has room again", 120_000, async () => (await sh(`sysctl -n ${TABLE}`)) === "100000");
    await eventually("it beats again", 120_000, async () => (await lastHeartbeat()) > cut);
    expect(await sh("cat /proc/swaps")).toContain("/dev/vdb");
  });

  it("reboots for real, and ends what ran in it", async () => {
    const before = machine.bootId;
    const spawned = await machine.spawn("sleep", ["1000"], join(site.bed.directory, "sleep.log"));
    await machine.reboot();
    expect(machine.bootId).not.toBe(before);
    expect(await machine.readFile("/proc/sys/kernel/random/boot_id")).toBe(machine.bootId);
    expect(await spawned.ended).not.toBe(0);
    expect(await machine.serviceStarts("sleeper")).toBe(1);
  });

  it("ends with whoever holds its bed", async () => {
    const holder = spawn(process.execPath, [fileURLToPath(new URL("./hold-a-virtual-machine.ts", import.meta.url))], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface({ input: holder.stdout }), "line")) as [string];
    const held = JSON.parse(line) as { readonly directory: string; readonly qemuPid: number };
    expect(await isThere(`/proc/${held.qemuPid}`)).toBe(true);
    holder.kill("SIGKILL");
    await eventually("qemu is gone", 60_000, async () => !(await isThere(`/proc/${held.qemuPid}`)));
    await eventually("the bed's folder is gone", 60_000, async () => !(await isThere(held.directory)));
  });
});
