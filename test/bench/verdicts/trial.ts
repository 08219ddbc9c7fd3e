/** One case from its start to its end, with a fleet of its own: a fault, deaths in the middle of it, and what was said of whom. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Sim, startSim } from "@drover/sim";
import { eventually } from "../../testbed/program.ts";
import type { ScenarioOptions } from "../scenario.ts";
import { CUT_ZONE, type FaultCase } from "./cases.ts";
import { ToldVerdicts } from "./told-verdicts.ts";

export const INTERVAL_MS = 10_000;
export const GRACE_MS = 30_000;
const FOUND_WITHIN_MS = GRACE_MS + 2 * INTERVAL_MS;
const ZONES = 5;
const DEAD_SHARE = 0.01;
const PROBE_PORT = 10_250;
/** Longer than a grace after the fault: a verdict that comes late is as false as one that comes at once. */
const WATCH_AFTER_MS = 2 * GRACE_MS;

export interface Outcome {
  readonly agents: number;
  readonly falseUnhealthy: number;
  /** Share of the dead that were told as they are, in time. */
  readonly deadFound: number;
  /** Seconds from death to `unhealthy`, and to the first verdict that is not `healthy`; sorted. */
  readonly foundAfterSeconds: readonly number[];
  readonly doubtedAfterSeconds: readonly number[];
  readonly lapses: number;
}

export interface Trial {
  readonly agents: number;
  readonly faultMs: number;
  readonly say: ScenarioOptions["say"];
}

/** @throws with the coordinator's last words when the case could not be brought to its end */
export async function tried(fault: FaultCase, trial: Trial): Promise<Outcome> {
  const directory = await mkdtemp(join("/var/tmp", "drover-verdicts-"));
  try {
    const stage = await fault.stage(directory, trial.faultMs);
    try {
      const { hasSecondPath = true } = fault;
      const agents = Math.min(trial.agents, fault.mostAgents ?? trial.agents);
      await using sim = await startSim({
        agents,
        directory,
        zones: ZONES,
        heartbeatIntervalMs: INTERVAL_MS,
        ...(hasSecondPath ? { probePort: PROBE_PORT } : {}),
        coordinatorConfig: {
          heartbeats: { shortestInterval: `${INTERVAL_MS / 1_000}s`, perSecond: Math.max(100, agents / 10) },
          ...stage.coordinatorConfig,
        },
        nodeArguments: stage.nodeArguments ?? [],
        coordinatorEnvironment: stage.environment ?? {},
      });
      return await watched(fault, { ...trial, agents, hasSecondPath }, sim, stage.make);
    } finally {
      await stage.end?.();
    }
  } catch (cause) {
    const words = await readFile(join(directory, "coordinator.log"), "utf8").catch(() => "");
    throw new Error(`${fault.name} did not come to its end: ${String(cause)}\nthe coordinator's last words:\n${words.slice(-2_000)}`, {
      cause,
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function watched(
  { name, cut: cutOf }: FaultCase,
  { agents, faultMs, hasSecondPath, say }: Trial & { readonly hasSecondPath: boolean },
  sim: Sim,
  make: (sim: Sim) => Promise<void>,
): Promise<Outcome> {
  if (hasSecondPath) await sim.knockable({ share: 1 }, false);
  await sim.settled;
  await eventually(
    "all are healthy and the observer is well",
    20 * GRACE_MS,
    async () => ((await sim.observe({ verdicts: true })).verdicts["healthy"] ?? 0) === agents,
  );
  await untilWell(sim, GRACE_MS);

  const cut = cutOf?.(agents, ZONES) ?? [];
  // Not of a cell that the fault itself disrupts: there nobody is called dead.
  const isMortal = (index: number): boolean => cut.length === 0 || index % ZONES !== CUT_ZONE;
  const dead = sim.select({ share: cut.length === 0 ? DEAD_SHARE : (DEAD_SHARE * ZONES) / (ZONES - 1) }).filter(isMortal);
  const verdicts = new ToldVerdicts(sim, dead, hasSecondPath);
  sim.silence(cut);
  const died = (async () => {
    await pause(faultMs / 2);
    sim.silence(dead);
    verdicts.diedAtMs = performance.now();
  })();
  await Promise.all([make(sim), died]);
  if (cut.length > 0) {
    const cutOff = (await sim.observe({ verdicts: true })).reasons["CellDisrupted"] ?? 0;
    say(`${name}: ${cutOff} of ${cut.length} cut off are told as of a disrupted cell`);
  }
  sim.revive(cut);
  // A machine that is too small for both makes the observer lapse by itself: then it had not recovered yet.
  await untilWell(sim, GRACE_MS + FOUND_WITHIN_MS);
  await pause(Math.max(0, verdicts.diedAtMs + FOUND_WITHIN_MS - performance.now()));
  const { found } = verdicts;
  await pause(WATCH_AFTER_MS);
  const after = await sim.observe({ verdicts: true });
  const lapses = after.totals["observer_lapses_total"] ?? 0;
  say(
    `${name}: ${verdicts.falseUnhealthy} of ${agents - dead.length} living called dead; ${found} of ${dead.length} dead found in time; ` +
      `${lapses} lapses of the last coordinator, begun by ${await causesOfLapses(sim.directory)}; in the end ${JSON.stringify(after.reasons)}`,
  );
  return {
    agents,
    falseUnhealthy: verdicts.falseUnhealthy,
    deadFound: found / dead.length,
    foundAfterSeconds: verdicts.secondsTo((verdict) => verdict === "unhealthy"),
    doubtedAfterSeconds: verdicts.secondsTo((verdict) => verdict !== "healthy"),
    lapses,
  };
}

/** "LoopLag 2, RoundTrip 1": of all coordinators of the case. */
async function causesOfLapses(directory: string): Promise<string> {
  const counts = new Map<string, number>();
  for (const [, cause] of (await readFile(join(directory, "coordinator.log"), "utf8")).matchAll(
    /"cause":"(\w+)","msg":"the observer lapsed/g,
  )) {
    counts.set(cause!, (counts.get(cause!) ?? 0) + 1);
  }
  return [...counts].map(([cause, count]) => `${cause} ${count}`).join(", ") || "nothing";
}

/** The observer has seen well for that long. */
async function untilWell(sim: Sim, steadyMs: number): Promise<void> {
  // One that was held up may answer once before it looks at its clock.
  await sim.observe();
  await eventually("the observer is well", 20 * GRACE_MS, async () => {
    const { totals } = await sim.observe();
    return (
      (totals["observer_steady_seconds"] ?? 0) * 1_000 >= steadyMs && (totals["observer_consumer_lag_seconds"] ?? 0) * 1_000 < INTERVAL_MS
    );
  });
}
