import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bed } from "../bed.ts";
import { eventually } from "../program.ts";
import { whyNoFullMachines } from "../roots/why-no-machines.ts";
import type { FullMachine } from "./full-machine.ts";

const missing = await whyNoFullMachines();
if (missing !== undefined) console.log(`skipped: the full machine: ${missing}`);

describe.skipIf(missing !== undefined)("the full machine", () => {
  let bed: Bed;
  let one: FullMachine;
  beforeAll(async () => {
    bed = await Bed.make();
    one = await bed.addFullMachine("one");
  });
  afterAll(async () => {
    await bed[Symbol.asyncDispose]();
    await expect(access(bed.directory)).rejects.toThrow("ENOENT");
    expect(await cgroupsOf(bed.directory)).toBe("");
  });

  it("is booted by systemd, all units up, with containerd and crictl answering and kubeadm there", async () => {
    expect(await one.run("systemctl", ["is-system-running"])).toMatchObject({ stdout: "running" });
    expect(await one.run("crictl", ["-r", "/run/containerd/containerd.sock", "info"])).toMatchObject({ exitCode: 0 });
    expect(await one.run("crictl", ["inspecti", "nosuch.example/image:1"])).toMatchObject({ exitCode: 1 });
    expect((await one.run("kubeadm", ["version", "-o", "short"])).stdout).toBe("v1.20.2");
    expect((await one.run("hostname", [])).stdout).toBe("one");
  });

  it("leaves the kernel's settings to the host, and lets a kubelet believe that it sets its own", async () => {
    const before = await readFile("/proc/sys/vm/overcommit_memory", "utf8");
    const swappiness = await readFile("/proc/sys/vm/swappiness", "utf8");
    expect((await one.run("sh", ["-c", "echo 7 > /proc/sys/vm/overcommit_memory"])).exitCode).toBe(0);
    expect(await one.readFile("/proc/sys/vm/overcommit_memory")).toBe("7");
    expect((await one.run("sh", ["-c", `echo ${Number(swappiness) + 1} > /proc/sys/vm/swappiness`])).exitCode).not.toBe(0);
    expect(await readFile("/proc/sys/vm/overcommit_memory", "utf8")).toBe(before);
    expect((await one.run("sh", ["-c", "echo 1234 > /proc/sys/net/core/somaxconn"])).exitCode).toBe(0);
  });

  it("meets light machines on the bridge", async () => {
    const light = await bed.addLightMachine("light");
    expect(await one.run("ping", ["-c1", "-W5", light.address])).toMatchObject({ exitCode: 0 });
    expect(await one.run("ping", ["-c1", "-W5", bed.address])).toMatchObject({ exitCode: 0 });
  });

  it("restarts a service that is killed, counts its starts and keeps what it said", async () => {
    await one.addService("talker", "echo up as $$; exec sleep 1000\n");
    const first = await eventually("the service runs", 60_000, () => one.servicePid("talker"));
    process.kill(first, "SIGKILL");
    const second = await eventually("it runs again", 60_000, async () => {
      const pid = await one.servicePid("talker");
      return pid !== first && pid;
    });
    expect(await readFile(`/proc/${second}/cmdline`, "utf8")).toContain("sleep");
    await eventually("both starts are in the journal", 60_000, async () => (await one.serviceStarts("talker")) === 2);
    expect((await one.serviceLog("talker")).match(/up as \d+/g)).toHaveLength(2);
  });

  it("keeps its disk and its services, and changes its boot id when the power is cut", async () => {
    await one.writeFile("/var/lib/kept", "kept\n", 0o600);
    await one.writeFile("/etc/kept", "kept\n");
    await one.writeFile("/run/lost", "lost\n");
    const before = await one.readFile("/proc/sys/kernel/random/boot_id");
    const machineId = await one.readFile("/etc/machine-id");
    await one.powerCut();
    expect(await readFile(`${one.directory}/var-lib/kept`, "utf8")).toBe("kept\n");
    await one.boot();
    expect(await one.readFile("/etc/kept")).toBe("kept");
    expect((await one.run("cat", ["/run/lost"])).exitCode).not.toBe(0);
    expect(await one.readFile("/proc/sys/kernel/random/boot_id")).not.toBe(before);
    expect(await one.readFile("/etc/machine-id")).toBe(machineId);
    await eventually("the service is back", 60_000, () => one.servicePid("talker"));
  });

  it("can be booted again when it has powered itself off", async () => {
    await one.run("systemctl", ["poweroff"]);
    await eventually("it is off", 60_000, async () => {
      try {
        return one.pid === 0;
      } catch {
        return true;
      }
    });
    await one.boot();
    expect(await one.readFile("/etc/kept")).toBe("kept");
  });

  it("leaves no process, mount, cgroup or file behind when whoever holds it is killed with SIGKILL", async () => {
    const holder = spawn(process.execPath, [fileURLToPath(new URL("./hold-a-full-machine.ts", import.meta.url))], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface({ input: holder.stdout }), "line")) as [string];
    const held = JSON.parse(line) as { directory: string; sleeperPid: number };
    expect(await cgroupsOf(held.directory)).toContain("sleeper.service");
    holder.kill("SIGKILL");
    await eventually("the machine's processes are gone", 60_000, () => access(`/proc/${held.sleeperPid}`).then(isFalse, isTrue));
    await eventually("the bed's folder is gone", 60_000, () => access(held.directory).then(isFalse, isTrue));
    expect(await cgroupsOf(held.directory)).toBe("");
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain(held.directory);
  });
});

const isTrue = (): boolean => true;
const isFalse = (): boolean => false;

async function cgroupsOf(bedDirectory: string): Promise<string> {
  return (await execa("find", ["/sys/fs/cgroup", "-type", "d", "-path", `*/${basename(bedDirectory)}*`], { reject: false })).stdout;
}
