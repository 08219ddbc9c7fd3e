/** What a simulation's coordinator tells of itself without listing its objects, as its metrics do. */
import type { Coordinator } from "@drover/coordinator/real";
import type { Observation } from "../sim-port.ts";

export function observationOf(coordinator: Coordinator, isWithVerdicts: boolean): Observation {
  const totals = Object.fromEntries(Object.entries(coordinator.totals()).map(([name, { value }]) => [name, value]));
  const verdicts: Record<string, number> = {};
  const reasons: Record<string, number> = {};
  if (isWithVerdicts) {
    for (const { health } of coordinator.fleet.nodes()) {
      verdicts[health.verdict] = (verdicts[health.verdict] ?? 0) + 1;
      reasons[health.reason] = (reasons[health.reason] ?? 0) + 1;
    }
  }
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  return {
    totals,
    liveSessions: coordinator.sessions.liveCount,
    verdicts,
    reasons,
    memory: { rssBytes: rss, heapUsedBytes: heapUsed, externalBytes: external + arrayBuffers },
  };
}
