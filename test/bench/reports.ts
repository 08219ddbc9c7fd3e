/** Coordinator CPU per delta report: pulled, logged, folded and acknowledged, with the heartbeats' part measured apart and taken off. */
import { startSim } from "@drover/sim";
import { median } from "./process-cost.ts";
import type { Scenario } from "./scenario.ts";

const AGENTS = 20_000;
/** Each agent tells one delta in so many seconds. */
const EVERY_SECONDS = 10;
const WINDOW_MS = 15_000;

export const reportsScenario: Scenario = {
  name: "reports",
  summary: "20,000 logical agents that tell one delta each 10 s: coordinator CPU per report",
  async run({ minutes, say }) {
    const windows = Math.max(3, Math.min(12, Math.round((minutes * 60_000) / (2 * WINDOW_MS))));
    await using sim = await startSim({
      agents: AGENTS,
      heartbeatIntervalMs: 60_000,
      changesPerMinute: 0,
      coordinatorConfig: { heartbeats: { shortestInterval: "60s" } },
      say,
    });
    await sim.settled;
    await sim.measure(WINDOW_MS);
    const costs: number[] = [];
    const natsCosts: number[] = [];
    let rate = 0;
    for (let window = 0; window < windows; window += 1) {
      sim.setChangesPerMinute(0);
      await sim.measure(5_000);
      const quiet = await sim.measure(WINDOW_MS);
      sim.setChangesPerMinute(60 / EVERY_SECONDS);
      await sim.measure(5_000);
      const busy = await sim.measure(WINDOW_MS);
      rate = busy.reportsTaken / busy.seconds;
      costs.push((1e6 * (busy.coordinatorCores - quiet.coordinatorCores)) / rate);
      natsCosts.push((1e6 * (busy.natsCores - quiet.natsCores)) / rate);
      say(`${costs.at(-1)!.toFixed(1)} us a report at ${Math.round(rate)}/s (NATS ${natsCosts.at(-1)!.toFixed(1)} us)`);
    }
    return {
      scenario: "reports",
      tier: "logical agents over 8 NATS connections with TLS",
      conditions: { agents: AGENTS, reportsPerSecond: Math.round(rate), windows: `${windows} pairs of ${WINDOW_MS / 1_000} s, medians` },
      figures: [
        { name: "report_us", value: median(costs), unit: "us", limit: 15 },
        { name: "report_nats_us", value: median(natsCosts), unit: "us" },
      ],
    };
  },
};
