/**
 * The one door of sim/: a fleet of simulated agents against a real coordinator of its own, for capacity planning and benchmarks.
 *
 *   await using sim = await startSim({ agents: 100_000, seed: 7 }, signal);
 *   await sim.settled;
 *   const usage = await sim.measure(60_000);      // cores by process, beats, reports
 *   sim.silence({ share: 0.01 });
 *
 * The coordinator is the product's own program with real NATS and SQLite, as a child on loopback, in a directory of its own; never an operator's.
 */
export type { SimOptions, Tier } from "./sim-options.ts";
export type { AgentCounts, Observation, ObservationWanted, Selection, Sim, StepFailure, Usage, VerdictChange } from "./sim-port.ts";
export { NODE_SET, objectsOf } from "./seed.ts";
export { startSim } from "./start-sim.ts";
export { renderOutcome, runScenario, type ScenarioOutcome } from "./run-scenario.ts";
export { readScenario, type Scenario, type ScenarioReading } from "./scenario.ts";
