/** What a simulation's coordinator tells of itself without listing its objects, as its metrics do. */
import type { Coordinator } from "@drover/coordinator/real";
import type { Observation, ObservationWanted } from "../sim-port.ts";

/** @param loopHeldMs the longest that its event loop was held since the start */
export function observationOf(coordinator: Coordinator, wanted: ObservationWanted, loopHeldMs: number): Observation {
  if (wanted.collect === true) for (let pass = 0; pass < 2; pass += 1) (globalThis as { gc?: () => void }).gc?.();
  const totals = Object.fromEntries(Object.entries(coordinator.totals()).map(([name, { value }]) => [name, value]));
  const verdicts: Record<string, number> = {};
  const reasons: Record<string, number> = {};
  if (wanted.verdicts === true) {
    for (const { health } of coordinator.fleet.nodes()) {
      verdicts[health.verdict] = (verdicts[health.verdict] ?? 0) + 1;
      reasons[health.reason] = (reasons[health.reason] ?? 0) + 1;
    }
  }
  // What is external has the buffers in it.
  const { rss, heapUsed, external } = process.memoryUsage();
  return {
    totals,
    liveSessions: coordinator.sessions.liveCount,
    verdicts,
    reasons,
    memory: { rssBytes: rss, heapUsedBytes: heapUsed, externalBytes: external },
    loopHeldMs,
  };
}
