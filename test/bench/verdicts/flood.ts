/** Three times the load: the fleet beats three times as often as it was told, and everybody has news each interval. */
import { setTimeout as pause } from "node:timers/promises";
import type { Sim } from "@drover/sim";

const TIMES = 3;

export async function floodFleet(sim: Sim, ms: number): Promise<void> {
  const intervalMs = sim.heartbeatIntervalMs;
  for (let passedMs = 0; passedMs < ms; passedMs += intervalMs) {
    // Said again: a budget of the coordinator may have come between.
    sim.beatEvery(Math.ceil(intervalMs / TIMES));
    sim.reportDelta({ share: 1 });
    await pause(Math.min(intervalMs, ms - passedMs));
  }
  sim.beatEvery(intervalMs);
}
