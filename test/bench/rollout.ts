/**
 * From `rollout start` (the count typed) to the last node that holds its instruction: live impact, all nodes at once, in a fleet that beats meanwhile. The
 * whole path: decide, commits of the desired records, wake-ups, sessions, plans, answers.
 */
import { NODE_SET, objectsOf, type Sim, startSim, type Tier } from "@drover/sim";
import { DryRunMode, type OperatorClient, RolloutVerb } from "@drover/proto";
import { cpuOf } from "./process-cost.ts";
import type { Figure, Scenario } from "./scenario.ts";

const DEADLINE_MS = 10 * 60_000;
const LOOK_MS = 50;

interface Size {
  readonly name: string;
  readonly agents: number;
  readonly tier: Tier;
  readonly limitSeconds: number;
}

/** DROVER_BENCH_ROLLOUT: sizes to run, by name; left out: all. DROVER_BENCH_DIRECTORY: kept, with a CPU profile of each coordinator. */
const SIZES: readonly Size[] = [
  { name: "rollout_5k_s", agents: 5_000, tier: "socket", limitSeconds: 30 },
  { name: "rollout_100k_s", agents: 100_000, tier: "logical", limitSeconds: 20 },
];

export const rolloutScenario: Scenario = {
  name: "rollout",
  summary: "rollout start of live changes on all nodes at once, until the last holds its instruction: 5,000 and 100,000 agents",
  async run({ say }) {
    const asked = process.env["DROVER_BENCH_ROLLOUT"]?.split(",");
    const figures: Figure[] = [];
    const conditions: Record<string, string | number> = {};
    for (const size of SIZES.filter(({ name }) => asked === undefined || asked.includes(name))) {
      const measured = await measure(size, say);
      figures.push(
        { name: size.name, value: measured.seconds, unit: "s", limit: size.limitSeconds },
        { name: `${size.name.slice(0, -2)}_coordinator_cpu_s`, value: measured.cpuSeconds, unit: "s" },
      );
      conditions[`${size.agents} agents`] =
        `${measured.tier}; ${measured.sessions} sessions, ${measured.sessionsFailed} failed, ${measured.wakes} wake-ups`;
    }
    return { scenario: "rollout", tier: "see conditions", conditions, figures };
  },
};

interface Measured {
  readonly tier: Tier;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly sessions: number;
  readonly sessionsFailed: number;
  readonly wakes: number;
}

async function measure({ agents, tier, name }: Size, say: (line: string) => void): Promise<Measured> {
  const kept = process.env["DROVER_BENCH_DIRECTORY"];
  const profiling = kept === undefined ? {} : { directory: `${kept}/${name}`, nodeArguments: ["--cpu-prof"] };
  await using sim = await startSim({ agents, tier, start: "converged", pollMs: 3_600_000, ...profiling, say });
  await sim.settled;
  const strategy = { maxUnavailable: "100%" };
  const [changed, set] = objectsOf({}, "8192") as [object, { readonly spec: object }];
  await apply(sim.operator, { ...set, spec: { ...set.spec, strategy } });
  await apply(sim.operator, changed);
  const rollout = await rolloutOf(sim, agents);
  const before = { ...sim.counts };
  const cpuSeconds = (): number => cpuOf(sim.coordinatorPid).ownMs / 1_000;
  const cpuBefore = cpuSeconds();
  const startMs = performance.now();
  await resume(sim.operator, rollout, agents);
  let saidSeconds = 0;
  for (;;) {
    const seconds = (performance.now() - startMs) / 1_000;
    const accepted = sim.counts.plansAccepted - before.plansAccepted;
    if (accepted >= agents) {
      const { sessions, sessionsFailed, wakes } = sim.counts;
      return {
        tier,
        seconds,
        cpuSeconds: cpuSeconds() - cpuBefore,
        sessions: sessions - before.sessions,
        sessionsFailed: sessionsFailed - before.sessionsFailed,
        wakes: wakes - before.wakes,
      };
    }
    if (seconds * 1_000 > DEADLINE_MS)
      throw new Error(`${name}: ${accepted} of ${agents} hold their instruction after ${seconds.toFixed(0)} s`);
    if (Math.floor(seconds) > saidSeconds) {
      saidSeconds = Math.floor(seconds);
      say(
        `${name} ${seconds.toFixed(1)} s: ${accepted} accepted, ${sim.counts.wakes - before.wakes} woken, ${sim.counts.sessions - before.sessions} sessions`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** The rollout that asks for its count. */
async function rolloutOf(sim: Sim, agents: number): Promise<string> {
  for (;;) {
    for (const object of await list(sim.operator, "Rollout")) {
      const { metadata, spec, status } = object as {
        metadata: { name: string };
        spec: { nodeSet: string };
        status?: { phase: string; total: number };
      };
      if (
        spec.nodeSet === NODE_SET &&
        status?.phase !== undefined &&
        !["Complete", "Superseded"].includes(status.phase) &&
        status.total === agents
      ) {
        return metadata.name;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function apply(operator: OperatorClient, object: object): Promise<void> {
  const request = { json: Buffer.from(JSON.stringify(object)), expectedResourceVersion: 0, dryRun: DryRunMode.DRY_RUN_MODE_UNSPECIFIED };
  return new Promise((resolve, reject) => operator.applyObject(request, (error) => (error === null ? resolve() : reject(error))));
}

function resume(operator: OperatorClient, name: string, confirmedNodes: number): Promise<void> {
  const request = { name, verb: RolloutVerb.ROLLOUT_VERB_RESUME, reason: "bench", confirmedNodes };
  return new Promise((resolve, reject) => operator.controlRollout(request, (error) => (error === null ? resolve() : reject(error))));
}

function list(operator: OperatorClient, kind: string): Promise<object[]> {
  return new Promise((resolve, reject) => {
    operator.listObjects({ kind, labelSelector: "" }, (error, answer) => {
      if (error !== null) reject(error);
      else resolve(answer.objects.map(({ json }) => JSON.parse(json.toString()) as object));
    });
  });
}
