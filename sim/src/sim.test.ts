import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { objectsOf } from "./seed.ts";
import type { SimOptions } from "./sim-options.ts";
import type { Sim } from "./sim-port.ts";
import { startSim } from "./start-sim.ts";

const OFTEN = { heartbeatIntervalMs: 1_000, coordinatorConfig: { heartbeats: { shortestInterval: "1s" } }, stepMs: 50 } as const;
const live: Sim[] = [];

async function started(options: SimOptions): Promise<Sim> {
  const sim = await startSim({ ...OFTEN, ...options });
  live.push(sim);
  await sim.settled;
  return sim;
}

afterEach(async () => {
  for (const sim of live.splice(0)) {
    await sim.stop();
    expect(existsSync(sim.directory), "the directory is removed").toBe(false);
    expect(processesThatName(sim.directory), "no process is left").toEqual([]);
  }
});

/** Whose arguments or working directory speak of it. */
function processesThatName(text: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
    } catch {
      return false;
    }
  });
}

async function eventually(what: string, timeoutMs: number, ask: () => Promise<boolean> | boolean): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await ask())) {
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe("200 logical agents and a real coordinator", { timeout: 180_000 }, () => {
  it("are found healthy and rolled out; roll out again, report, fall silent and come back; no report is lost", async () => {
    const sim = await started({ agents: 200 });
    await eventually("all are healthy", 60_000, async () => (await sim.observe({ verdicts: true })).verdicts["healthy"] === 200);
    expect(await sim.apply(objectsOf({}, "65536").slice(0, 1))).toEqual(["sim-2"]);
    await eventually("a plan is enforced", 60_000, () => sim.counts.plansEnforced > 0);
    sim.reportDelta({ share: 1 });
    await eventually("all deltas are acknowledged", 60_000, () => sim.counts.reportsAcknowledged >= 200);
    sim.silence([3]);
    await eventually("the silent one is noticed", 120_000, () =>
      sim.verdictChanges.some(({ nodeId, verdict }) => nodeId === sim.nodeId(3) && verdict === "unknown"),
    );
    sim.revive([3]);
    await eventually(
      "it is healthy again",
      60_000,
      () => sim.verdictChanges.findLast(({ nodeId }) => nodeId === sim.nodeId(3))?.verdict === "healthy",
    );
    const { sent, lost, twice } = await sim.reconcileReports();
    expect([lost, twice]).toEqual([0, 0]);
    expect(sent).toBeGreaterThanOrEqual(400);
  });
});

describe("20 agents on sockets of their own", { timeout: 180_000 }, () => {
  it("beat over TLS, are woken, and hold sessions on mTLS in which they take a plan", async () => {
    const sim = await started({ agents: 20, tier: "socket", start: "enrolled" });
    expect(sim.counts.connections).toBe(20);
    expect(await sim.apply(objectsOf({}))).toEqual(["sim-1"]);
    await eventually("the canary's plan is enforced", 60_000, () => sim.counts.plansEnforced > 0);
    expect(sim.counts.sessions).toBeGreaterThan(0);
    expect(await sim.reconcileReports()).toMatchObject({ lost: 0, twice: 0 });
  });
});
