/**
 * No living node is called dead, whatever happens to the observer, and the dead are found when it sees again.
 * Nothing but the observer's own doubt is left to protect the living: no knock at a machine is answered, as behind a firewall that drops, so that the
 * second path agrees to every death. In each case one agent in a hundred really dies in the middle of the fault.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Sim, startSim } from "@drover/sim";
import { eventually } from "../../testbed/program.ts";
import type { Figure, Scenario, ScenarioOptions } from "../scenario.ts";
import { type FaultCase, faultCases } from "./cases.ts";

const AGENTS = 100_000;
const ZONES = 5;
const INTERVAL_MS = 10_000;
const GRACE_MS = 30_000;
const FOUND_WITHIN_MS = GRACE_MS + 2 * INTERVAL_MS;
const FAULT_MS = 300_000;
const FULL_MINUTES = 20;
const DEAD_SHARE = 0.01;
/** Longer than a grace after the fault: a verdict that comes late is as false as one that comes at once. */
const WATCH_AFTER_MS = 2 * GRACE_MS;

interface Outcome {
  readonly falseUnhealthy: number;
  /** Share of the dead that were told as they are, in time. */
  readonly deadFound: number;
  /** Seconds from death to `unhealthy`, and to the first verdict that is not `healthy`; sorted. */
  readonly foundAfterSeconds: readonly number[];
  readonly doubtedAfterSeconds: readonly number[];
}

export const verdictsScenario: Scenario = {
  name: "verdicts",
  summary: "false unhealthy in each case of an observer that sees badly, and the really dead found after it; --case NAME, --agents N",
  async run(options) {
    const agents = options.agents ?? AGENTS;
    const faultMs = (FAULT_MS * options.minutes) / FULL_MINUTES;
    const named = options.cases ?? faultCases.map(({ name }) => name);
    const unknown = named.filter((name) => name !== SILENT && !faultCases.some((known) => known.name === name));
    if (unknown.length > 0)
      throw new Error(`no such case: ${unknown.join(", ")}; there are ${[...faultCases.map(({ name }) => name), SILENT].join(", ")}`);
    const figures: Figure[] = [];
    for (const fault of faultCases) {
      if (!named.includes(fault.name)) continue;
      options.say(`${fault.name}: ${fault.summary}`);
      figures.push(...figuresOf(fault.name, await tried(fault, { agents, faultMs, hasSecondPath: true, say: options.say })));
    }
    if (options.cases === undefined || named.includes(SILENT)) {
      options.say(`${SILENT}: no fault, and no second path: silence ends in unknown`);
      const outcome = await tried(faultCases[0]!, { agents, faultMs, hasSecondPath: false, say: options.say });
      figures.push(...figuresOf(SILENT, outcome));
    }
    return {
      scenario: "verdicts",
      tier: "logical agents over 8 NATS connections with TLS, real coordinator and NATS",
      conditions: {
        agents,
        intervalSeconds: INTERVAL_MS / 1_000,
        faultSeconds: faultMs / 1_000,
        dead: "1 %",
        secondPath: "no knock is answered",
      },
      figures,
    };
  },
};

const SILENT = "quiet_without_second_path";

function figuresOf(name: string, { falseUnhealthy, deadFound, foundAfterSeconds, doubtedAfterSeconds }: Outcome): Figure[] {
  const p99 = (seconds: readonly number[]): number => seconds[Math.ceil(seconds.length * 0.99) - 1] ?? Number.NaN;
  const quiet: Figure[] = [
    { name: "unknown_p99_s", value: p99(doubtedAfterSeconds), unit: "s", limit: 35 },
    { name: "unhealthy_p99_s", value: p99(foundAfterSeconds), unit: "s", limit: 45 },
  ];
  return [
    { name: `false_unhealthy_${name}`, value: falseUnhealthy, unit: "nodes", limit: 0 },
    { name: `dead_found_${name}`, value: 100 * deadFound, unit: "%", limit: 100, isFloor: true },
    ...(name === "quiet" ? quiet : []),
  ];
}

interface Trial {
  readonly agents: number;
  readonly faultMs: number;
  readonly hasSecondPath: boolean;
  readonly say: ScenarioOptions["say"];
}

async function tried(fault: FaultCase, { agents, faultMs, hasSecondPath, say }: Trial): Promise<Outcome> {
  const directory = await mkdtemp(join("/var/tmp", "drover-verdicts-"));
  try {
    await fault.prepare?.(directory);
    await using sim = await startSim({
      agents,
      directory,
      zones: ZONES,
      heartbeatIntervalMs: INTERVAL_MS,
      ...(hasSecondPath ? { probePort: 10_250 } : {}),
      coordinatorConfig: { heartbeats: { shortestInterval: "10s", perSecond: Math.max(100, agents / 10) } },
      nodeArguments: fault.nodeArguments ?? [],
      coordinatorEnvironment: fault.environment?.(directory) ?? {},
    });
    const everybody = Array.from({ length: agents }, (_, index) => index);
    if (hasSecondPath) await sim.knockable(everybody, false);
    await sim.settled;
    await eventually(
      "all are healthy",
      10 * GRACE_MS,
      async () => ((await sim.observe({ verdicts: true })).verdicts["healthy"] ?? 0) === agents,
    );

    const cut = fault.cut?.(sim, agents, ZONES) ?? [];
    const isCut = new Set(cut);
    // Not of a cell that the fault itself disrupts: there nobody is called dead.
    const dead = everybody.filter((index) => index % ZONES !== 0 && index % Math.round(0.8 / DEAD_SHARE) === 1 && !isCut.has(index));
    const verdicts = new Verdicts(sim, dead, hasSecondPath);
    sim.silence(cut);
    const died = (async () => {
      await pause(faultMs / 2);
      sim.silence(dead);
      verdicts.diedAtMs = performance.now();
    })();
    await fault.make(sim, faultMs);
    await died;
    const cutOff = cut.length === 0 ? undefined : ((await sim.observe({ verdicts: true })).reasons["CellDisrupted"] ?? 0);
    if (cut.length > 0) say(`${fault.name}: ${cutOff} of ${cut.length} cut off are told as of a disrupted cell`);
    sim.revive(cut);
    await untilWell(sim);
    const wellAtMs = performance.now();
    const dueAtMs = Math.max(wellAtMs, verdicts.diedAtMs) + FOUND_WITHIN_MS;
    await pause(Math.max(0, dueAtMs - performance.now()));
    const found = verdicts.found;
    await pause(WATCH_AFTER_MS);
    const after = await sim.observe({ verdicts: true });
    say(
      `${fault.name}: ${verdicts.falseUnhealthy} of ${agents - dead.length} living called dead; ${found} of ${dead.length} dead found in time; ` +
        `${after.totals["observer_lapses_total"] ?? 0} lapses; in the end ${JSON.stringify(after.verdicts)} ${JSON.stringify(after.reasons)}`,
    );
    return {
      falseUnhealthy: verdicts.falseUnhealthy,
      deadFound: found / dead.length,
      foundAfterSeconds: verdicts.secondsTo((verdict) => verdict === "unhealthy"),
      doubtedAfterSeconds: verdicts.secondsTo((verdict) => verdict !== "healthy"),
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The observer trusts itself again: it has seen well for a grace. */
async function untilWell(sim: Sim): Promise<void> {
  await eventually("the observer is well", 20 * GRACE_MS, async () => {
    const { totals } = await sim.observe();
    return (
      (totals["observer_steady_seconds"] ?? 0) * 1_000 >= GRACE_MS && (totals["observer_consumer_lag_seconds"] ?? 0) * 1_000 < INTERVAL_MS
    );
  });
}

/** Who was called what, from now on. */
class Verdicts {
  diedAtMs = Number.POSITIVE_INFINITY;
  readonly #falselyDead = new Set<string>();
  /** Of the dead: what they are called now, and when that was first said. */
  readonly #told = new Map<string, { now: string; first: Map<string, number> }>();
  readonly #expected: string;

  constructor(sim: Sim, dead: readonly number[], hasSecondPath: boolean) {
    this.#expected = hasSecondPath ? "unhealthy Silent" : "unknown Silent";
    for (const index of dead) this.#told.set(sim.nodeId(index), { now: "", first: new Map() });
    sim.onVerdict(({ nodeId, verdict, reason, atMs }) => {
      const told = this.#told.get(nodeId);
      const isAlive = told === undefined || atMs < this.diedAtMs;
      if (isAlive && verdict === "unhealthy") this.#falselyDead.add(nodeId);
      if (told === undefined) return;
      told.now = `${verdict} ${reason}`;
      if (!isAlive && !told.first.has(verdict)) told.first.set(verdict, atMs);
    });
  }

  get falseUnhealthy(): number {
    return this.#falselyDead.size;
  }

  get found(): number {
    return [...this.#told.values()].filter(({ now }) => now === this.#expected).length;
  }

  /** To the first verdict that is meant, of each of the dead. */
  secondsTo(isMeant: (verdict: string) => boolean): readonly number[] {
    const firstOf = (first: ReadonlyMap<string, number>): number =>
      Math.min(...[...first].flatMap(([verdict, atMs]) => (isMeant(verdict) ? [atMs] : [])));
    return [...this.#told.values()].map(({ first }) => (firstOf(first) - this.diedAtMs) / 1_000).toSorted((a, b) => a - b);
  }
}
