/**
 * kill -9 of the coordinator in a fleet of 100,000 logical agents that beat each 10 s and report all the time: how long until one serves again, what its
 * event loop is held for meanwhile, whether NATS, which lives on and is adopted, lost any connection, and whether a report was lost or is there twice.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Sim, startSim } from "@drover/sim";
import { cpuOf, median } from "./process-cost.ts";
import type { Scenario } from "./scenario.ts";

const AGENTS = 100_000;
/** One snapshot has been written by then, and part of a minute's reports stand in the log alone. */
const BEFORE_KILL_MS = 75_000;
const BETWEEN_KILLS_MS = 20_000;
const LOOK_MS = 50;
const DEADLINE_MS = 120_000;

export const restartScenario: Scenario = {
  name: "restart",
  summary:
    "kill -9 of the coordinator at 100,000 logical agents under beats and reports: until it serves again, reports lost or twice, NATS reconnects",
  async run({ minutes, agents = AGENTS, say }) {
    const kills = Math.max(3, Math.min(9, Math.round(minutes * 3)));
    const kept = process.env["DROVER_BENCH_DIRECTORY"];
    await using sim = await startSim({
      agents,
      heartbeatIntervalMs: 10_000,
      // 100 reports a second of 100,000 nodes.
      changesPerMinute: 0.06,
      coordinatorConfig: { heartbeats: { shortestInterval: "10s", perSecond: agents / 10 } },
      ...(kept === undefined ? {} : { directory: kept, nodeArguments: ["--cpu-prof"] }),
      say,
    });
    await sim.settled;
    await sim.measure(BEFORE_KILL_MS);
    const connectedBefore = await agentConnections(sim);
    const restarts: Restart[] = [];
    const held: number[] = [];
    for (let kill = 1; kill <= kills; kill += 1) {
      const restart = await restartOf(sim);
      restarts.push(restart);
      const { servingMs, takingMs, ackedMs, cpuMs } = restart;
      say(
        `kill ${kill}: serves after ${seconds(servingMs)} s (${seconds(cpuMs)} s of CPU), takes beats after ${seconds(takingMs)} s, acknowledges after ${seconds(ackedMs)} s`,
      );
      await sim.measure(BETWEEN_KILLS_MS);
      held.push((await sim.observe()).loopHeldMs);
    }
    const connectedAfter = await agentConnections(sim);
    const reports = await sim.reconcileReports();
    const of = (pick: (restart: Restart) => number): number => median(restarts.map(pick));
    return {
      scenario: "restart",
      tier: "logical agents over 8 NATS connections with TLS",
      conditions: {
        agents,
        kills,
        reportsPerSecond: Math.round((agents * 0.06) / 60),
        reportsSent: reports.sent,
        reportsAcknowledged: reports.acknowledged,
        connections: connectedBefore.size,
        worstServing: `${seconds(Math.max(...restarts.map(({ servingMs }) => servingMs)))} s`,
      },
      figures: [
        { name: "restart_s", value: of(({ servingMs }) => servingMs) / 1_000, unit: "s", limit: 5 },
        { name: "restart_cpu_s", value: of(({ cpuMs }) => cpuMs) / 1_000, unit: "s" },
        { name: "restart_beats_s", value: of(({ takingMs }) => takingMs) / 1_000, unit: "s" },
        { name: "restart_acks_s", value: of(({ ackedMs }) => ackedMs) / 1_000, unit: "s" },
        { name: "restart_held_ms", value: median(held), unit: "ms", limit: 200 },
        { name: "lost", value: reports.lost, unit: "reports", limit: 0 },
        { name: "twice", value: reports.twice, unit: "reports", limit: 0 },
        { name: "reconnects", value: [...connectedBefore].filter((cid) => !connectedAfter.has(cid)).length, unit: "connections", limit: 0 },
      ],
    };
  },
};

/** Milliseconds from the kill. */
interface Restart {
  /** All ports serve. */
  readonly servingMs: number;
  /** Beats that were sent after it was killed are counted. */
  readonly takingMs: number;
  /** Agents hear that reports were taken. */
  readonly ackedMs: number;
  /** What the new process had used when it served. */
  readonly cpuMs: number;
}

async function restartOf(sim: Sim): Promise<Restart> {
  const killedAtMs = performance.now();
  await sim.endCoordinator("SIGKILL");
  const acknowledged = sim.counts.reportsAcknowledged;
  await sim.startCoordinator();
  const servingMs = performance.now() - killedAtMs;
  const cpuMs = cpuOf(sim.coordinatorPid).ownMs;
  const takingMs = await until(killedAtMs, "beats", async () => ((await sim.observe()).totals["heartbeats_total"] ?? 0) > 0);
  const ackedMs = await until(killedAtMs, "acknowledgements", () => sim.counts.reportsAcknowledged > acknowledged);
  return { servingMs, takingMs, ackedMs, cpuMs };
}

async function until(startMs: number, what: string, isThere: () => boolean | Promise<boolean>): Promise<number> {
  for (;;) {
    if (await isThere()) return performance.now() - startMs;
    if (performance.now() - startMs > DEADLINE_MS) throw new Error(`no ${what} ${DEADLINE_MS / 1_000} s after the coordinator was killed`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Ids, in the server, of the connections that are not the coordinator's: a connection that came anew has another one. */
async function agentConnections(sim: Sim): Promise<ReadonlySet<number>> {
  const { monitorPort } = JSON.parse(readFileSync(join(sim.directory, "data", "nats-trust", "nats-listen.json"), "utf8")) as {
    monitorPort: number;
  };
  const answer = await fetch(`http://127.0.0.1:${monitorPort}/connz?limit=100000`);
  const { connections } = (await answer.json()) as { connections: readonly { cid: number; name?: string }[] };
  return new Set(connections.filter(({ name }) => name !== "drover-coordinator").map(({ cid }) => cid));
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(2);
}
