/**
 * Five times as much to tell as the coordinator can take: how much it still takes, how late heartbeats are, and when all is as before. First its capacity is
 * found: routine reports are made ever more often until they wait in the stream for longer than a few seconds.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type Sim, startSim } from "@drover/sim";
import type { Scenario } from "./scenario.ts";

const AGENTS = 100_000;
const INTERVAL_MS = 10_000;
const SETTLE_MS = 100_000;
/** Events a second that all agents together have to tell; doubled until it is too much. */
const FIRST_RATE = 1_000;
const STEP_MS = 15_000;
const TIMES = 5;
const LAG_IS_OVER_S = 1;
const LAG_IS_THERE_S = 5;
const LOOK_MS = 500;
const CALM_DEADLINE_MS = 300_000;
const QUIET_LOOKS = 6;

interface Look {
  /** Of the scenario, ms. */
  readonly atMs: number;
  readonly events: number;
  readonly reportLagS: number;
  /** How late the coordinator's own heartbeat comes back to it, and how long it took to say so. */
  readonly beatLagS: number;
}

export const overloadScenario: Scenario = {
  name: "overload",
  summary:
    "five times the reports that the coordinator can take, 100,000 logical agents: what it takes, how late heartbeats are, when it is over",
  async run({ minutes, agents = AGENTS, say }) {
    const overloadMs = Math.max(4, Math.min(10, minutes)) * 60_000;
    await using sim = await startSim({
      agents,
      heartbeatIntervalMs: INTERVAL_MS,
      changesPerMinute: 0,
      pollMs: 60_000,
      coordinatorConfig: { heartbeats: { shortestInterval: `${INTERVAL_MS}ms`, perSecond: agents / 10 } },
      say,
    });
    await sim.settled;
    await sim.measure(SETTLE_MS);
    const offer = (eventsPerSecond: number): void => sim.setChangesPerMinute((60 * eventsPerSecond) / agents);
    const capacity = await capacityOf(sim, offer, say);
    offer(0);
    await calm(sim, capacity);
    await toldAll(sim);
    say(`it can take ${Math.round(capacity)} events a second; offering ${TIMES} times as many for ${overloadMs / 60_000} min`);
    offer(TIMES * capacity);
    const usageOf = sim.measure(overloadMs);
    const looks = await watch(sim, overloadMs, (look) => {
      say(`${(look.atMs / 1_000).toFixed(0)} s: reports wait ${look.reportLagS.toFixed(1)} s, beats ${look.beatLagS.toFixed(2)} s`);
    });
    const usage = await usageOf;
    offer(0);
    const endMs = performance.now();
    const recoveryMs = await calm(sim, capacity);
    await toldAll(sim);
    const toldMs = performance.now() - endMs;
    const goodput = rateOf(looks) / capacity;
    const lags = looks.map(({ beatLagS }) => beatLagS).sort((a, b) => a - b);
    const reports = await sim.reconcileReports();
    return {
      scenario: "overload",
      tier: "logical agents over 8 NATS connections with TLS",
      conditions: {
        agents,
        capacityEventsPerSecond: Math.round(capacity),
        offeredEventsPerSecond: Math.round(TIMES * capacity),
        overloadedForS: overloadMs / 1_000,
        worstReportLagS: Math.max(...looks.map(({ reportLagS }) => reportLagS)).toFixed(1),
        cores: `coordinator ${usage.coordinatorCores.toFixed(2)}, NATS ${usage.natsCores.toFixed(2)}, simulation ${usage.simCores.toFixed(2)}`,
        simulationWorstLateMs: Math.round(usage.worstLateMs),
      },
      figures: [
        { name: "overload_goodput", value: goodput, unit: "of its capacity", limit: 0.9, isFloor: true },
        { name: "overload_beat_p99_s", value: lags[Math.floor(0.99 * lags.length)] ?? Number.NaN, unit: "s", limit: 5 },
        { name: "overload_recovery_s", value: recoveryMs / 1_000, unit: "s", limit: 10 },
        { name: "overload_told_s", value: toldMs / 1_000, unit: "s" },
        { name: "lost", value: reports.lost, unit: "reports", limit: 0 },
        { name: "twice", value: reports.twice, unit: "reports", limit: 0 },
      ],
    };
  },
};

/** @returns events a second, the most that was taken in any step */
async function capacityOf(sim: Sim, offer: (eventsPerSecond: number) => void, say: (line: string) => void): Promise<number> {
  let most = 0;
  for (let rate = FIRST_RATE; ; rate *= 2) {
    offer(rate);
    const looks = await watch(sim, STEP_MS);
    const taken = rateOf(looks);
    const lagS = looks.at(-1)!.reportLagS;
    say(`${rate} events a second offered: ${Math.round(taken)} taken, reports wait ${lagS.toFixed(1)} s`);
    most = Math.max(most, taken);
    // What agents tell comes a little later than it happens; much less than was offered is too much.
    if (lagS > LAG_IS_THERE_S || taken < 0.7 * rate) return most;
  }
}

async function watch(sim: Sim, ms: number, tell?: (look: Look) => void): Promise<readonly Look[]> {
  const startMs = performance.now();
  const looks: Look[] = [];
  let toldMs = 0;
  while (performance.now() - startMs < ms) {
    const askedMs = performance.now();
    const { totals } = await sim.observe();
    const nowMs = performance.now();
    const look = {
      atMs: nowMs - startMs,
      events: totals["report_events_total"] ?? 0,
      reportLagS: totals["reports_lag_seconds"] ?? 0,
      beatLagS: (totals["observer_consumer_lag_seconds"] ?? 0) + (nowMs - askedMs) / 1_000,
    };
    looks.push(look);
    if (look.atMs - toldMs > 30_000) {
      toldMs = look.atMs;
      tell?.(look);
    }
    await pause(LOOK_MS);
  }
  return looks;
}

function rateOf(looks: readonly Look[]): number {
  const [first, last] = [looks[0]!, looks.at(-1)!];
  return (1_000 * (last.events - first.events)) / (last.atMs - first.atMs);
}

/** @returns milliseconds until neither reports nor beats wait for a second, and no more acks are open than a second's work */
async function calm(sim: Sim, capacity: number): Promise<number> {
  const startMs = performance.now();
  for (;;) {
    const [look] = await watch(sim, 1);
    const tookMs = performance.now() - startMs;
    if (look!.reportLagS < LAG_IS_OVER_S && look!.beatLagS < LAG_IS_OVER_S && openReports(sim) < capacity * LAG_IS_OVER_S) return tookMs;
    inTime(sim, tookMs);
  }
}

/** Until agents have told also what they kept together while they were to report less often. */
async function toldAll(sim: Sim): Promise<void> {
  const startMs = performance.now();
  for (let quiet = 0; quiet < QUIET_LOOKS; quiet = openReports(sim) < 100 ? quiet + 1 : 0) {
    await pause(LOOK_MS);
    inTime(sim, performance.now() - startMs);
  }
}

function openReports({ counts }: Sim): number {
  return counts.reportsSealed - counts.reportsAcknowledged;
}

function inTime(sim: Sim, tookMs: number): void {
  if (tookMs <= CALM_DEADLINE_MS) return;
  throw new Error(`${openReports(sim)} reports are not acknowledged ${CALM_DEADLINE_MS / 1_000} s after the load was taken away`);
}
