/** 15,000 agents on real TLS sockets of their own, beating each 10 s: CPU of NATS and coordinator, and what a connected agent takes in NATS. */
import { startSim, type Usage } from "@drover/sim";
import { median } from "./process-cost.ts";
import type { Scenario } from "./scenario.ts";

const AGENTS = 15_000;
const WINDOW_MS = 20_000;
const SETTLE_MS = 30_000;

export const socketsScenario: Scenario = {
  name: "sockets",
  summary: "15,000 agents on real TLS sockets, beating each 10 s: cores, NATS memory per agent",
  async run({ minutes, say }) {
    const windows = Math.max(3, Math.min(15, Math.round((minutes * 60_000) / WINDOW_MS)));
    const emptyBytes = await natsBytesOf(1, say);
    await using sim = await startSim({ agents: AGENTS, tier: "socket", changesPerMinute: 0.01, ...EACH_TEN_SECONDS, say });
    await sim.settled;
    await sim.measure(SETTLE_MS);
    const usages: Usage[] = [];
    for (let window = 0; window < windows; window += 1) {
      const usage = await sim.measure(WINDOW_MS);
      usages.push(usage);
      const { coordinatorCores, natsCores, beatsTaken, seconds } = usage;
      say(`coordinator ${coordinatorCores.toFixed(3)} + NATS ${natsCores.toFixed(3)} cores, ${Math.round(beatsTaken / seconds)} beats/s`);
    }
    const of = (pick: (usage: Usage) => number): number => median(usages.map(pick));
    const natsBytes = of((usage) => usage.natsBytes);
    return {
      scenario: "sockets",
      tier: "real TLS sockets, one per agent, with user JWT, nkey and its subscriptions",
      conditions: {
        agents: AGENTS,
        connected: sim.counts.connections,
        reconnects: sim.counts.reconnects,
        intervalMs: sim.heartbeatIntervalMs,
        windows: `${windows} of ${WINDOW_MS / 1_000} s, medians`,
        beatsPerSecond: Math.round(of(({ beatsTaken, seconds }) => beatsTaken / seconds)),
        worstLateMs: Math.round(Math.max(...usages.map(({ worstLateMs }) => worstLateMs))),
        natsRssMb: Math.round(natsBytes / 1e6),
        emptyNatsRssMb: Math.round(emptyBytes / 1e6),
        coordinatorRssMb: Math.round(of(({ coordinatorBytes }) => coordinatorBytes) / 1e6),
      },
      figures: [
        { name: "socket_cores", value: of(({ coordinatorCores, natsCores }) => coordinatorCores + natsCores), unit: "cores", limit: 0.2 },
        { name: "socket_nats_cores", value: of(({ natsCores }) => natsCores), unit: "cores" },
        { name: "socket_coordinator_cores", value: of(({ coordinatorCores }) => coordinatorCores), unit: "cores" },
        { name: "socket_kb", value: (natsBytes - emptyBytes) / 1024 / AGENTS, unit: "KB", limit: 56 },
      ],
    };
  },
};

const EACH_TEN_SECONDS = {
  heartbeatIntervalMs: 10_000,
  coordinatorConfig: { heartbeats: { shortestInterval: "10s", perSecond: AGENTS / 10 } },
} as const;

async function natsBytesOf(agents: number, say: (line: string) => void): Promise<number> {
  await using sim = await startSim({ agents, tier: "socket", ...EACH_TEN_SECONDS, say });
  await sim.settled;
  return (await sim.measure(1_000)).natsBytes;
}
