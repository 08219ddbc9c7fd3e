/**
 * The coordinator of a simulation, as a process of its own: the product's `serve`, and beside it the door for sessions of logical agents, the second path
 * that the simulation scripts, and what it tells of verdicts. Ends when the simulation does, however that ends.
 */
import "reflect-metadata";
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { type Coordinator, loadConfig, NodeMap, serve } from "@drover/coordinator/real";
import { type Component, type Log, stopSignal, systemClock } from "@drover/lifecycle";
import { pino } from "pino";
import type { CoordinatorArguments, FromCoordinator, ToCoordinator } from "./messages.ts";
import { observationOf } from "./observation.ts";
import { ScriptedKnocks } from "./scripted-knocks.ts";
import { runSessionDoor } from "./session-door.ts";

const { configFile, doorPath, silentAddressesFile } = JSON.parse(process.argv[2]!) as CoordinatorArguments;
const loading = loadConfig(configFile);
if (!loading.ok) {
  console.error(loading.problems.map(({ path, message }) => `${path} ${message}`).join("\n"));
  process.exit(2);
}
const { config } = loading;
const tell = (message: FromCoordinator): void => void process.send?.(message);
const knocks = new ScriptedKnocks(systemClock, JSON.parse(readFileSync(silentAddressesFile, "utf8")) as string[]);
const loop = monitorEventLoopDelay({ resolution: 10 });
loop.enable();
const ended = new AbortController();
// The simulation was killed: nobody else would end this coordinator and its NATS.
process.once("disconnect", () => ended.abort(new Error("the simulation has gone")));

const besides = (coordinator: Coordinator): readonly Component[] => {
  process.on("message", (message: ToCoordinator) => {
    if (message.type === "knocks") knocks.set(message.addresses, message.isAnswered);
    else tell({ type: "observed", request: message.request, observation: observationOf(coordinator, message.wanted, loop.max / 1e6) });
  });
  coordinator.fleet.onChange((nodeIds) => tellVerdicts(coordinator, nodeIds));
  // As the product's own ports: who is heard before the store is read seems to know more than it.
  const runDoor = async (signal: AbortSignal): Promise<void> => {
    const stopped = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    await Promise.race([coordinator.ready, stopped]);
    if (!signal.aborted) await runSessionDoor(doorPath, coordinator, signal);
  };
  return [{ name: "session door", run: runDoor }];
};

/** Not a Map, as what it takes is counted as the coordinator's. */
let told: NodeMap<string> | undefined;
/** There are few: one text each, not one for each node. */
const texts = new Map<string, string>();

function tellVerdicts({ fleet, catalog }: Coordinator, nodeIds: readonly string[]): void {
  told ??= new NodeMap(catalog.numbers);
  const changes: [string, string, string][] = [];
  for (const nodeId of nodeIds) {
    const health = fleet.node(nodeId)?.health;
    if (health === undefined) continue;
    const text = `${health.verdict} ${health.reason}`;
    if (told.get(nodeId) === text) continue;
    if (!texts.has(text)) texts.set(text, text);
    told.set(nodeId, texts.get(text)!);
    changes.push([nodeId, health.verdict, health.reason]);
  }
  if (changes.length > 0) tell({ type: "verdicts", changes });
}

try {
  const log = pino({ level: config.log.level, base: null }) as unknown as Log;
  await serve(
    {
      config,
      log,
      connectTcp: knocks.connect,
      besides,
      onServing: ({ session, enrolment, metrics }, nats) =>
        tell({ type: "serving", session, enrolment, metrics, nats: { url: nats.urls[0]!, caPem: nats.caPem } }),
    },
    AbortSignal.any([stopSignal(), ended.signal]),
  );
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
process.exit();
