/** Ours: the simulated fleet against a real coordinator and NATS; what it costs them both. */
import { setTimeout as pause } from "node:timers/promises";
import { startSim, type Tier } from "@drover/sim";
import type { Paid } from "./index.ts";

const WARM_UP_MS = 60_000;
const CHANGES_PER_MINUTE = 0.01;

export async function ours(name: string, nodes: number, tier: Tier, windowMs: number): Promise<Paid> {
  await using sim = await startSim({
    agents: nodes,
    tier,
    changesPerMinute: CHANGES_PER_MINUTE,
    coordinatorConfig: { heartbeats: { shortestInterval: "10s", perSecond: 100_000 } },
  });
  await sim.settled;
  await pause(WARM_UP_MS);
  const { coordinatorCores, natsCores, beatsTaken, seconds } = await sim.measure(windowMs);
  return {
    name,
    nodes,
    cores: coordinatorCores + natsCores,
    achieved: Math.min(1, (beatsTaken * 10) / (nodes * seconds)),
    note: `(coordinator ${coordinatorCores.toFixed(3)}, NATS ${natsCores.toFixed(3)})`,
  };
}
