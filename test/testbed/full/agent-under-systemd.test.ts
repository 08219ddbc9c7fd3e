import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../program.ts";
import { whyNoFullMachines } from "../roots/why-no-machines.ts";
import { Site } from "../site.ts";
import type { FullMachine } from "./full-machine.ts";

const missing = await whyNoFullMachines();
if (missing !== undefined) console.log(`skipped: the agent's package under a real systemd: ${missing}`);

describe.skipIf(missing !== undefined)("the agent's package under a real systemd", () => {
  let site: Site;
  let machine: FullMachine;
  beforeAll(async () => {
    site = await Site.make();
    machine = await site.addMachine("full-1", { role: "web" }, { kind: "full" });
  }, 120_000);
  afterAll(async () => {
    await site[Symbol.asyncDispose]();
  });

  async function property(name: string): Promise<string> {
    return (await machine.run("systemctl", ["show", "--value", `--property=${name}`, "drover-agent.service"])).stdout.trim();
  }

  async function lastHeartbeat(): Promise<number> {
    const { items } = JSON.parse(await site.mustDrover(["get", "nodes", "-o", "json"])) as {
      items: { metadata: { name: string }; status: { lastHeartbeatTime?: string; health: string } }[];
    };
    const status = items.find(({ metadata }) => metadata.name === "full-1")?.status;
    return status?.health === "healthy" ? Date.parse(status.lastHeartbeatTime ?? "") : 0;
  }

  it("enrols, beats, and tells systemd that it is ready, how it is, and that it is alive", async () => {
    const first = await eventually("it is healthy", 60_000, async () => (await lastHeartbeat()) || false);
    await eventually("it beats again", 60_000, async () => (await lastHeartbeat()) > first);
    expect(await property("ActiveState")).toBe("active");
    await eventually("its status is told", 60_000, async () => (await property("StatusText")) !== "");
    await eventually("the watchdog is fed", 60_000, async () => Number(await property("WatchdogTimestampMonotonic")) > 0);
    expect((await machine.run("test", ["-e", "/etc/drover/join-token"])).exitCode).toBe(1);
  }, 90_000);

  it("is started again by systemd when it is killed, stops orderly when it is told to, and starts with the machine", async () => {
    const before = (await machine.servicePid("drover-agent"))!;
    process.kill(before, "SIGKILL");
    await eventually("it is started again", 60_000, async () => ((await machine.servicePid("drover-agent")) ?? before) !== before);
    await eventually("both starts are counted", 60_000, async () => (await machine.serviceStarts("drover-agent")) === 2);
    expect(await machine.run("systemctl", ["stop", "drover-agent.service"])).toMatchObject({ exitCode: 0 });
    expect(await property("Result")).toBe("success");
    await machine.powerCut();
    const cut = Date.now();
    await machine.boot();
    await eventually("it beats again", 60_000, async () => (await lastHeartbeat()) > cut);
  }, 90_000);

  it("is never given up by systemd, however often it is started", async () => {
    for (let restart = 1; restart <= 8; restart += 1) {
      expect(await machine.run("systemctl", ["restart", "drover-agent.service"])).toMatchObject({ exitCode: 0 });
      process.kill((await machine.servicePid("drover-agent"))!, "SIGKILL");
    }
    await eventually("it runs", 60_000, async () => (await property("ActiveState")) === "active");
  }, 90_000);
});
