/** Puts a simulation together: seeds, starts the coordinator, connects the agents; and takes it apart again, whatever happened. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countReports, dataFiles, loadConfig, makeOperator, openSqliteReportLog, seedFleet } from "@drover/coordinator/real";
import { sleep, systemClock } from "@drover/lifecycle";
import { type ApplyObjectResponse, DryRunMode, OperatorClient } from "@drover/proto";
import { CoordinatorProcess } from "./coordinator/coordinator-process.ts";
import type { FleetOptions } from "./fleet/agent-fleet.ts";
import { addressOf, drawn } from "./fleet/agent-identity.ts";
import { openLogicalFleet } from "./fleet/logical-fleet.ts";
import type { FleetControl } from "./fleet-control.ts";
import { operatorClient } from "./operator-client.ts";
import { cpuSecondsOf, residentBytesOf } from "./process-cost.ts";
import { seedingOf } from "./seed.ts";
import { socketNkey } from "./socket/socket-bus.ts";
import { openSocketFleet } from "./socket/socket-fleet.ts";
import type { SimOptions } from "./sim-options.ts";
import type { Selection, Sim, VerdictChange } from "./sim-port.ts";

const POLL_MS = 600_000;
const FIRST_SESSION_MS = 5_000;

/** @throws when the coordinator does not start, or the signal aborts before it has */
export async function startSim(options: SimOptions, signal?: AbortSignal): Promise<Sim> {
  const { agents, seed = 1, tier = "logical", say = () => undefined } = options;
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), "drover-sim-")));
  await mkdir(directory, { recursive: true });
  const releases: (() => Promise<void> | void)[] = [];
  if (options.directory === undefined) releases.push(() => rm(directory, { recursive: true, force: true }));
  let stopping: Promise<void> | undefined;
  const ended = new AbortController();
  const stop = (): Promise<void> =>
    (stopping ??= (async () => {
      ended.abort(new Error("the simulation was stopped"));
      signal?.removeEventListener("abort", onAbort);
      for (const release of releases.reverse()) await release();
    })());
  const onAbort = (): void => void stop();
  signal?.addEventListener("abort", onAbort, { once: true });

  const verdictChanges: VerdictChange[] = [];
  const verdictListeners = new Set<(change: VerdictChange) => void>();
  const silentAddresses = new Set<string>();
  const coordinator = new CoordinatorProcess({
    directory,
    coordinatorConfig: options.coordinatorConfig ?? {},
    nodeArguments: options.nodeArguments ?? [],
    environment: options.coordinatorEnvironment ?? {},
    silentAddresses: () => [...silentAddresses],
    onVerdicts: (changes) => {
      for (const [nodeId, verdict, reason] of changes) {
        const change = { atMs: performance.now(), nodeId, verdict: verdict as VerdictChange["verdict"], reason };
        verdictChanges.push(change);
        for (const listen of verdictListeners) listen(change);
      }
    },
  });
  releases.push(async () => {
    await coordinator.end("SIGTERM");
    await coordinator.endNats();
  });

  try {
    say(`seeding ${agents} nodes`);
    const seeding = seedingOf(coordinator.dataDir, options, tier === "socket" ? (index) => socketNkey(seed, index).publicKey : undefined);
    await seedFleet(seeding.fleet);
    signal?.throwIfAborted();
    say("starting the coordinator");
    const startMs = await coordinator.start();
    say(`the coordinator serves after ${Math.round(startMs)} ms; connecting the agents`);
    const files = dataFiles(coordinator.dataDir);
    const nodeIds = seeding.fleet.nodes.map(({ nodeId }) => nodeId);
    const indexes = new Map(nodeIds.map((nodeId, index) => [nodeId, index]));
    const fleetOptions: FleetOptions = {
      seed,
      first: 0,
      agents,
      heartbeatIntervalMs: options.heartbeatIntervalMs ?? 10_000,
      stepMs: options.stepMs ?? 500,
      changesPerMinute: options.changesPerMinute ?? 0.01,
      pollMs: options.pollMs ?? POLL_MS,
      firstSessionMs: FIRST_SESSION_MS,
      foundPlan: seeding.foundPlan(),
    };
    const fleet =
      tier === "logical" ? await openLogicalFleet(fleetOptions, coordinator) : openSocketFleet(fleetOptions, coordinator, directory);
    releases.push(() => fleet.close());
    const contextFile = join(directory, "operator.yaml");
    const operator = await makeAdmin(directory, contextFile, `127.0.0.1:${coordinator.serving.session}`);
    releases.push(() => operator.close());
    const settled = untilSettled(fleet, ended.signal);
    settled.catch(() => undefined);

    let draws = 0;
    const select = (selection: Selection): readonly number[] =>
      "share" in selection ? drawn(seed, (draws += 1), agents, selection.share) : selection;
    const sim: Sim = {
      directory,
      contextFile,
      operator,
      nodeId: (index) => nodeIds[index]!,
      nodeName: (index) => seeding.fleet.nodes[index]!.name,
      indexOf: (nodeId) => indexes.get(nodeId),
      select,
      apply: async (objects) => {
        const started: string[] = [];
        for (const object of objects) started.push(...(await applyObject(operator, object)).rollouts);
        return started;
      },
      settled,
      get counts() {
        return fleet.counts;
      },
      get heartbeatIntervalMs() {
        return fleet.heartbeatIntervalMs;
      },
      observe: (wanted) => coordinator.observe(wanted ?? {}),
      verdictChanges,
      onVerdict(listen) {
        verdictListeners.add(listen);
        return () => verdictListeners.delete(listen);
      },
      async measure(ms) {
        const sample = async () => ({
          atMs: performance.now(),
          coordinator: cpuSecondsOf(coordinator.pid),
          nats: cpuSecondsOf(coordinator.natsPid),
          sim: fleet.pids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0),
          beats: fleet.counts.beats,
          totals: (await coordinator.observe({})).totals,
        });
        fleet.takeWorstLateMs();
        const before = await sample();
        await sleep(systemClock, ms, ended.signal);
        const after = await sample();
        const seconds = (after.atMs - before.atMs) / 1_000;
        const taken = (name: string): number => (after.totals[name] ?? 0) - (before.totals[name] ?? 0);
        return {
          seconds,
          coordinatorCores: (after.coordinator - before.coordinator) / seconds,
          natsCores: (after.nats - before.nats) / seconds,
          simCores: (after.sim - before.sim) / seconds,
          coordinatorBytes: residentBytesOf(coordinator.pid),
          natsBytes: residentBytesOf(coordinator.natsPid),
          beats: after.beats - before.beats,
          beatsTaken: taken("heartbeats_total"),
          reportsTaken: taken("reports_folded_total"),
          worstLateMs: fleet.takeWorstLateMs(),
        };
      },
      silence: (selection) => fleet.apply({ do: "silence", agents: select(selection) }),
      revive: (selection) => fleet.apply({ do: "revive", agents: select(selection) }),
      async knockable(selection, isAnswered) {
        const addresses = select(selection).map(addressOf);
        for (const address of addresses) {
          if (isAnswered) silentAddresses.delete(address);
          else silentAddresses.add(address);
        }
        coordinator.tell({ type: "knocks", addresses, isAnswered });
        await coordinator.observe({});
      },
      lag: (selection, ms) => fleet.apply({ do: "lag", agents: select(selection), ms }),
      skew: (selection, ms) => fleet.apply({ do: "skew", agents: select(selection), ms }),
      duplicate: (selection) => fleet.apply({ do: "duplicate", agents: select(selection) }),
      failSteps: (selection, failure) => fleet.apply({ do: "failSteps", agents: select(selection), failure }),
      slowSteps: (selection, ms) => fleet.apply({ do: "slowSteps", agents: select(selection), ms }),
      reportDelta: (selection) => fleet.apply({ do: "reportDelta", agents: select(selection) }),
      beatEvery: (ms) => fleet.apply({ do: "beatEvery", agents: nodeIds.map((_, index) => index), ms }),
      setChangesPerMinute: (share) => fleet.setChangesPerMinute(share),
      get coordinatorPid() {
        return coordinator.pid;
      },
      get natsPid() {
        return coordinator.natsPid;
      },
      signal: (target, name) => coordinator.signal(target, name),
      endCoordinator: (name) => coordinator.end(name),
      startCoordinator: () => coordinator.start(),
      async reconcileReports() {
        await coordinator.end("SIGTERM");
        const log = openSqliteReportLog(files.reportLog);
        try {
          const counted = await countReports(log);
          const total = { sent: 0, acknowledged: 0, lost: 0, twice: 0 };
          for (const { nodeId, epoch, sealed, acked } of await fleet.ledger()) {
            const count = counted.get(`${nodeId}/${epoch}`)?.count ?? 0;
            total.sent += sealed;
            total.acknowledged += acked;
            total.lost += Math.max(0, acked - count);
            total.twice += Math.max(0, count - sealed);
          }
          return total;
        } finally {
          await log.close();
        }
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
    return sim;
  } catch (error) {
    await stop();
    throw error;
  }
}

async function makeAdmin(directory: string, contextFile: string, endpoint: string): Promise<OperatorClient> {
  const loading = loadConfig(join(directory, "coordinator.yaml"));
  if (!loading.ok) throw new Error("coordinator.yaml of the simulation is refused");
  await makeOperator(loading.config, { name: "sim", role: "admin", out: contextFile, endpoint });
  return operatorClient(contextFile);
}

function applyObject(operator: OperatorClient, object: object): Promise<ApplyObjectResponse> {
  const request = { json: Buffer.from(JSON.stringify(object)), dryRun: DryRunMode.DRY_RUN_MODE_NONE, expectedResourceVersion: 0 };
  return new Promise((resolve, reject) => {
    operator.applyObject(request, (error, response) => (error === null ? resolve(response) : reject(error)));
  });
}

async function untilSettled(fleet: FleetControl, signal: AbortSignal): Promise<void> {
  while (!fleet.isSettled) await sleep(systemClock, 100, signal);
}
