/**
 * 100,000 logical agents that beat each 10 s, 1 % of them with something to tell per minute: CPU of coordinator and NATS by process, per beat, and the memory
 * that the fleet takes in the coordinator over what an empty one has.
 */
import { startSim, type Usage } from "@drover/sim";
import type { Scenario } from "./scenario.ts";
import { median } from "./process-cost.ts";

const AGENTS = 100_000;
const INTERVAL_MS = 10_000;
/**
 * By then the fleet is at rest: each agent has had the one session that follows a start of the coordinator (within pollMs and its jitter; 13 min by default), and
 * two snapshots have packed what was replayed from the report log.
 */
const SETTLE_MS = 180_000;
const POLL_MS = 60_000;
const WINDOW_MS = 20_000;

export const heartbeatsScenario: Scenario = {
  name: "heartbeats",
  summary: "100,000 logical agents beating each 10 s, 1 % changing per minute: cores, CPU per heartbeat, memory",
  async run({ minutes, say }) {
    const windows = Math.max(3, Math.min(15, Math.round((minutes * 60_000) / WINDOW_MS)));
    const emptyBytes = await heldByCoordinator(1, say);
    await using sim = await startSim({
      agents: AGENTS,
      heartbeatIntervalMs: INTERVAL_MS,
      changesPerMinute: 0.01,
      pollMs: POLL_MS,
      coordinatorConfig: { heartbeats: { shortestInterval: "10s", perSecond: AGENTS / 10 } },
      nodeArguments: ["--expose-gc"],
      say,
    });
    await sim.settled;
    await sim.measure(SETTLE_MS);
    const usages: Usage[] = [];
    for (let window = 0; window < windows; window += 1) {
      const usage = await sim.measure(WINDOW_MS);
      usages.push(usage);
      const { coordinatorCores, natsCores, beatsTaken, seconds } = usage;
      say(`coordinator ${coordinatorCores.toFixed(3)} + NATS ${natsCores.toFixed(3)} cores, ${Math.round(beatsTaken / seconds)} beats/s`);
    }
    const { memory, verdicts } = await sim.observe({ verdicts: true, collect: true });
    const perBeatUs = usages.map(({ coordinatorCores, seconds, beatsTaken }) => (1e6 * coordinatorCores * seconds) / beatsTaken);
    const of = (pick: (usage: Usage) => number): number => median(usages.map(pick));
    return {
      scenario: "heartbeats",
      tier: "logical agents over 8 NATS connections with TLS",
      conditions: {
        agents: AGENTS,
        intervalMs: INTERVAL_MS,
        changesPerMinute: "1 %",
        settledFor: `${SETTLE_MS / 1_000} s, each agent's poll after the start included`,
        windows: `${windows} of ${WINDOW_MS / 1_000} s, medians`,
        beatsPerSecond: Math.round(of(({ beatsTaken, seconds }) => beatsTaken / seconds)),
        reportsPerSecond: Math.round(of(({ reportsTaken, seconds }) => reportsTaken / seconds)),
        healthy: verdicts["healthy"] ?? 0,
        worstLateMs: Math.round(Math.max(...usages.map(({ worstLateMs }) => worstLateMs))),
        coordinatorRssMb: Math.round(of(({ coordinatorBytes }) => coordinatorBytes) / 1e6),
        natsRssMb: Math.round(of(({ natsBytes }) => natsBytes) / 1e6),
      },
      figures: [
        {
          name: "heartbeat_cores",
          value: of(({ coordinatorCores, natsCores }) => coordinatorCores + natsCores),
          unit: "cores",
          limit: 0.25,
        },
        { name: "heartbeat_coordinator_cores", value: of(({ coordinatorCores }) => coordinatorCores), unit: "cores" },
        { name: "heartbeat_nats_cores", value: of(({ natsCores }) => natsCores), unit: "cores" },
        { name: "heartbeat_us", value: median(perBeatUs), unit: "us", limit: 5 },
        { name: "memory_mb", value: (memory.heapUsedBytes + memory.externalBytes - emptyBytes) / 1e6, unit: "MB", limit: 96 },
      ],
    };
  },
};

/** Heap and what hangs on it, after a collection. */
async function heldByCoordinator(agents: number, say: (line: string) => void): Promise<number> {
  await using sim = await startSim({ agents, nodeArguments: ["--expose-gc"], say });
  await sim.settled;
  const { memory } = await sim.observe({ collect: true });
  return memory.heapUsedBytes + memory.externalBytes;
}
