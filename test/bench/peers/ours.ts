/** Ours: the simulated fleet against a real coordinator and NATS; what it costs them both. */
import { setTimeout as pause } from "node:timers/promises";
import { startSim, type Tier } from "@drover/sim";
import type { Paid } from "./index.ts";

const WARM_UP_MS = 60_000;
const CHANGES_PER_MINUTE = 0.01;
const INTERVAL_S = 10;
const NEVER_MS = 86_400_000;

export interface OurOptions {
  readonly nodes: number;
  readonly windowMs: number;
  /** Default: logical. */
  readonly tier?: Tier;
  /** Nobody has news, and nobody polls: what the beats alone cost. */
  readonly isBeatsOnly?: boolean;
}

export async function ours(name: string, { nodes, windowMs, tier = "logical", isBeatsOnly = false }: OurOptions): Promise<Paid> {
  await using sim = await startSim({
    agents: nodes,
    tier,
    changesPerMinute: isBeatsOnly ? 0 : CHANGES_PER_MINUTE,
    ...(isBeatsOnly ? { pollMs: NEVER_MS } : {}),
    coordinatorConfig: { heartbeats: { shortestInterval: `${INTERVAL_S}s`, perSecond: 100_000 } },
  });
  await sim.settled;
  await pause(WARM_UP_MS);
  const { coordinatorCores, natsCores, beatsTaken, seconds } = await sim.measure(windowMs);
  const each = (cores: number): string => ((cores * INTERVAL_S * 1e6) / nodes).toFixed(1);
  return {
    name,
    nodes,
    cores: coordinatorCores + natsCores,
    achieved: Math.min(1, (beatsTaken * INTERVAL_S) / (nodes * seconds)),
    note: `(coordinator ${each(coordinatorCores)} us, NATS ${each(natsCores)} us)`,
  };
}
