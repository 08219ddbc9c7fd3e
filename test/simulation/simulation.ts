/**
 * One coordinator and any number of agents, their real cores, in this process on one virtual clock: a run is a function of its seed.
 * No socket, no file, no real time. The invariants are judged at each observation; at the end everything must be in sync unaided.
 */
import { type Log, sleep } from "@drover/lifecycle";
import { differences } from "./convergence.ts";
import { heal, planFaults, strike } from "./faults.ts";
import { commandOf, manifests, type Scenario } from "./scenario.ts";
import { type Tampering, type Violation, World } from "./world.ts";

export interface SimulationOptions {
  readonly seed: number;
  readonly agents: number;
  readonly scenario: Scenario;
  readonly tampering?: Tampering;
  /** For looking into a run; it is no part of the transcript. */
  readonly log?: Log;
}

export interface SimulationResult {
  /** Lines of: virtual time, who, what; in the order in which it happened. */
  readonly transcript: string;
  readonly stats: SimulationStats;
  /** Empty: all invariants held, and all was in sync at the end. */
  readonly violations: readonly Violation[];
}

export interface SimulationStats {
  readonly agents: number;
  readonly faults: number;
  readonly observations: number;
  /** Virtual time from the start until all was in sync. */
  readonly virtualMs: number;
}

const SLICE_MS = 1_000;
const STATE_EVERY_MS = 60_000;
const LOOK_EVERY_MS = 5_000;
const APPLY_DEADLINE_MS = 15_000;
const APPLY_AGAIN_MS = 2_000;
/** Agents start within this time, as machines of a fleet do. */
const START_SPREAD_MS = 20_000;

export async function runSimulation(options: SimulationOptions): Promise<SimulationResult> {
  const { scenario, agents, tampering } = options;
  const world = new World(options);
  const { clock, transcript, violations } = world;
  await world.enrolAll();
  world.coordinator.start();
  const startRandom = world.random("start");
  for (const node of world.nodes) clock.setTimer(startRandom.unit() * START_SPREAD_MS, () => node.start());
  const faults = planFaults(scenario, world.random("fault plan"));
  const faultRandom = world.random("faults");
  for (const { atMs, kind } of faults) clock.setTimer(atMs, () => strike(kind, world, faultRandom));
  const healAtMs = scenario.faultsUntilMinute * 60_000;
  if (healAtMs > 0) clock.setTimer(healAtMs, () => heal(world, scenario));
  if (tampering?.strike !== undefined) {
    const { atMinute, with: act } = tampering.strike;
    clock.setTimer(atMinute * 60_000, () => void act(world));
  }
  const operator = { applied: -1 };
  void applyAll(world, scenario, (revision) => {
    operator.applied = revision;
  });

  let isInSync = false;
  while (!isInSync && violations.length === 0) {
    await clock.advance(SLICE_MS);
    const nowMs = clock.monotonicMs();
    world.judgeVerdicts();
    world.lookForWhatIsDue();
    if (nowMs % STATE_EVERY_MS === 0) transcript.state(await stateOf(world));
    const lastRevision = scenario.changesAtMinutes.length;
    if (nowMs < Math.max(healAtMs, START_SPREAD_MS) || nowMs % LOOK_EVERY_MS !== 0) continue;
    void world.retryWhatWasUndone();
    const left = operator.applied < lastRevision ? [`revision ${lastRevision} is not applied`] : await differences(world, lastRevision);
    isInSync = left.length === 0;
    const limitMs =
      Math.max(healAtMs, ...scenario.changesAtMinutes.map((minute) => minute * 60_000)) + scenario.convergeWithinMinutes * 60_000;
    if (nowMs >= limitMs) for (const message of left) violations.push({ invariant: "convergence", message, atMs: nowMs });
  }
  transcript.state(await stateOf(world));
  return {
    transcript: transcript.text,
    stats: { agents, faults: faults.length, observations: world.observed, virtualMs: clock.monotonicMs() },
    violations,
  };
}

/** What broke, and how to run it again. */
export function describeFailure({ seed, agents, scenario }: SimulationOptions, { violations }: SimulationResult): string {
  const shown = violations.slice(0, 3).map(({ invariant, message, atMs }) => `${invariant} at ${(atMs / 1000).toFixed(3)} s: ${message}`);
  return `seed ${seed}: ${shown.join("; ")}; again: ${commandOf({ seed, agents, scenario: scenario.name })}`;
}

/** The operator: applies each revision when it is due, and again until the coordinator has taken it. */
async function applyAll(world: World, scenario: Scenario, applied: (revision: number) => void): Promise<void> {
  const { clock, transcript } = world;
  for (const [revision, atMinute] of [0, ...scenario.changesAtMinutes].entries()) {
    await sleep(clock, Math.max(0, atMinute * 60_000 - clock.monotonicMs()));
    for (const manifest of manifests(revision, scenario)) {
      while (!(await applyOnce(world, manifest))) await sleep(clock, APPLY_AGAIN_MS);
    }
    transcript.say("operator", `applied revision ${revision}`);
    applied(revision);
  }
}

async function applyOnce({ clock, coordinator, transcript }: World, manifest: object): Promise<boolean> {
  const resources = coordinator.coordinator?.operator.resources;
  if (resources === undefined) return false;
  const request = { json: Buffer.from(JSON.stringify(manifest)), expectedResourceVersion: 0, actor: "operator:simulation" };
  // A coordinator that is killed meanwhile never answers.
  const answer = await Promise.race([resources.apply(request, false), sleep(clock, APPLY_DEADLINE_MS)]);
  if (answer?.ok !== false) return answer !== undefined;
  transcript.say("operator", `refused: ${answer.reason}: ${answer.message}`);
  return false;
}

/** Everything that counts, for one digest. */
async function stateOf({ coordinator, nodes }: World): Promise<readonly (string | Uint8Array)[]> {
  const { entries, revision } = await coordinator.store.list("");
  const parts: (string | Uint8Array)[] = [String(revision)];
  for (const { key, value } of entries) parts.push(key, value);
  for (const { nodeId, machine, agent } of nodes) {
    const observed = coordinator.coordinator?.fleet.node(nodeId);
    parts.push(
      JSON.stringify([
        nodeId,
        agent?.status(),
        observed?.outcome,
        observed?.observedGeneration,
        observed?.health,
        machine.containerd.images,
      ]),
      ...machine.files.paths.flatMap((path) => [path, machine.files.text(path) ?? ""]),
    );
  }
  return parts;
}
