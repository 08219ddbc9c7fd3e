import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bed } from "../bed.ts";
import { eventually } from "../program.ts";

describe("the light machine", () => {
  let bed: Bed;
  beforeAll(async () => {
    bed = await Bed.make();
  });
  afterAll(async () => {
    await bed[Symbol.asyncDispose]();
    await expect(access(bed.directory)).rejects.toThrow("ENOENT");
  });

  it("has a boot id, hostname, /etc, /var/lib and network sysctls of its own, and cannot write the host's", async () => {
    const hostBootId = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
    const [one, two] = await Promise.all([bed.addLightMachine("one"), bed.addLightMachine("two")]);
    expect(await one.readFile("/proc/sys/kernel/random/boot_id")).not.toBe(hostBootId.trim());
    expect((await one.run("hostname", [])).stdout).toBe("one");
    await one.writeFile("/etc/drover/x", "1\n");
    await one.writeFile("/var/lib/y", "1\n");
    await expect(access("/etc/drover/x")).rejects.toThrow("ENOENT");
    expect((await two.run("cat", ["/etc/drover/x"])).exitCode).not.toBe(0);
    expect((await one.run("sh", ["-c", "echo 1234 > /proc/sys/net/core/somaxconn"])).exitCode).toBe(0);
    expect(await one.readFile("/proc/sys/net/core/somaxconn")).toBe("1234");
    expect(await two.readFile("/proc/sys/net/core/somaxconn")).not.toBe("1234");
    expect((await one.run("sh", ["-c", "echo 1 > /proc/sys/vm/swappiness"])).exitCode).not.toBe(0);
  });

  it("reaches the bed and other machines over the bridge, and nothing else", async () => {
    const machine = await bed.addLightMachine("net");
    expect((await machine.run("ip", ["route", "get", bed.address])).stdout).toContain("dev eth0");
    expect((await bed.run("ip", ["-o", "link"])).stdout).not.toContain("docker");
  });

  it("restarts a service that is killed, and systemctl speaks to its supervisor", async () => {
    const machine = await bed.addLightMachine("sup");
    await machine.addService("sleeper", "exec sleep 1000\n");
    const first = await eventually("the service runs", 60_000, () => machine.servicePid("sleeper"));
    process.kill(first, "SIGKILL");
    const second = await eventually("the service runs again", 60_000, async () => {
      const pid = await machine.servicePid("sleeper");
      return pid !== first && pid;
    });
    expect(await machine.run("systemctl", ["restart", "sleeper.service"])).toMatchObject({ exitCode: 0 });
    expect(await machine.servicePid("sleeper")).not.toBe(second);
    expect(await machine.run("systemctl", ["is-active", "sleeper.service"])).toMatchObject({ exitCode: 0, stdout: "active" });
    expect(await machine.run("systemctl", ["restart", "nosuch.service"])).toMatchObject({ exitCode: 5 });
  });

  it("starts what a service file says when it is whole, and nothing for the file it is written to before", async () => {
    const machine = await bed.addLightMachine("many");
    const names = Array.from({ length: 24 }, (_, index) => `sleeper-${index}`);
    await Promise.all(names.map((name) => machine.addService(name, "exec sleep 1000\n")));
    for (const name of names) await eventually(`${name} runs`, 60_000, () => machine.servicePid(name));
    const supervised = (await machine.run("ls", ["/run/supervisor"])).stdout.split("\n").filter((file) => file.endsWith(".starts"));
    expect(supervised.toSorted()).toEqual(names.map((name) => `${name}.starts`).toSorted());
  });

  it("leaves no process, mount or file behind when whoever holds it is killed with SIGKILL", async () => {
    const holder = spawn(process.execPath, [fileURLToPath(new URL("./hold-a-machine.ts", import.meta.url))], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface({ input: holder.stdout }), "line")) as [string];
    const held = JSON.parse(line) as { directory: string; sleeperPid: number };
    holder.kill("SIGKILL");
    await eventually("the machine's processes are gone", 60_000, async () => !(await exists(`/proc/${held.sleeperPid}`)));
    await eventually("the bed's folder is gone", 60_000, async () => !(await exists(held.directory)));
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain(held.directory);
  });

  it("keeps its disk and changes its boot id when the power is cut", async () => {
    const machine = await bed.addLightMachine("cut");
    await machine.writeFile("/var/lib/kept", "kept\n");
    await machine.writeFile("/run/lost", "lost\n");
    const before = await machine.readFile("/proc/sys/kernel/random/boot_id");
    await machine.powerCut();
    await machine.boot();
    expect(await machine.readFile("/var/lib/kept")).toBe("kept");
    expect((await machine.run("cat", ["/run/lost"])).exitCode).not.toBe(0);
    expect(await machine.readFile("/proc/sys/kernel/random/boot_id")).not.toBe(before);
  });
});

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
