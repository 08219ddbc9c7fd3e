/** Puts a simulation together: seeds, starts the coordinator, connects the agents; and takes it apart again, whatever happened. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countReports, dataFiles, loadConfig, makeOperator, openNatsTrust, openSqliteReportLog, seedFleet } from "@drover/coordinator/real";
import { OperatorClient } from "@drover/proto";
import { CoordinatorProcess } from "./coordinator/coordinator-process.ts";
import { AgentFleet } from "./fleet/agent-fleet.ts";
import { addressOf, drawn } from "./fleet/agent-identity.ts";
import { LogicalBus } from "./fleet/logical-bus.ts";
import { LogicalSessions } from "./fleet/logical-sessions.ts";
import { operatorClient } from "./operator-client.ts";
import { cpuSecondsOf, residentBytesOf } from "./process-cost.ts";
import { seedingOf } from "./seed.ts";
import type { SimOptions } from "./sim-options.ts";
import type { Selection, Sim, VerdictChange } from "./sim-port.ts";

const CONNECTIONS = 8;
const POLL_MS = 600_000;
const FIRST_SESSION_MS = 5_000;

/** @throws when the coordinator does not start, or the signal aborts before it has */
export async function startSim(options: SimOptions, signal?: AbortSignal): Promise<Sim> {
  const { agents, seed = 1, say = () => undefined } = options;
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), "drover-sim-")));
  await mkdir(directory, { recursive: true });
  const releases: (() => Promise<void> | void)[] = [];
  if (options.directory === undefined) releases.push(() => rm(directory, { recursive: true, force: true }));
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> =>
    (stopping ??= (async () => {
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
    const seeding = seedingOf(coordinator.dataDir, options, undefined);
    await seedFleet(seeding.fleet);
    signal?.throwIfAborted();
    say("starting the coordinator");
    const startMs = await coordinator.start();
    say(`the coordinator serves after ${Math.round(startMs)} ms; connecting the agents`);
    const files = dataFiles(coordinator.dataDir);
    const { nats } = coordinator.serving;
    const nodeIds = seeding.fleet.nodes.map(({ nodeId }) => nodeId);
    const indexes = new Map(nodeIds.map((nodeId, index) => [nodeId, index]));
    const sessions = new LogicalSessions(coordinator.doorPath, (agent) => fleet.columns.nodeIds[agent]!);
    const each = (connection: number, change: (agent: number) => void): void => {
      for (let agent = 0; agent < fleet.columns.nodeIds.length; agent += 1) if (bus.connectionOf(agent) === connection) change(agent);
    };
    const bus = await LogicalBus.open(nodeIds, {
      url: nats.url,
      caPem: nats.caPem,
      user: openNatsTrust(files.natsTrust).coordinatorUser(),
      connections: CONNECTIONS,
      onToNode: (nodeId, message) => fleet.toNode(nodeId, message),
      onBudget: (shard, budget) => fleet.budget(shard, budget),
      onConnected: (connection) => each(connection, (agent) => fleet.connected(agent)),
      onDisconnected: (connection) => each(connection, (agent) => fleet.disconnected(agent)),
    });
    const fleet = new AgentFleet(
      {
        seed,
        first: 0,
        agents,
        heartbeatIntervalMs: options.heartbeatIntervalMs ?? 10_000,
        stepMs: options.stepMs ?? 500,
        changesPerMinute: options.changesPerMinute ?? 0.01,
        pollMs: options.pollMs ?? POLL_MS,
        firstSessionMs: FIRST_SESSION_MS,
        foundPlan: seeding.foundPlan(),
      },
      bus,
      sessions,
    );
    releases.push(async () => {
      fleet.stop();
      sessions.close();
      await bus.close();
    });
    const contextFile = join(directory, "operator.yaml");
    const operator = await makeAdmin(directory, contextFile, `127.0.0.1:${coordinator.serving.session}`);
    releases.push(() => operator.close());
    fleet.start();
    for (let agent = 0; agent < agents; agent += 1) fleet.connected(agent);
    const settled = untilAllHaveBeaten(fleet, agents);

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
      settled,
      counts: fleet.counts,
      get heartbeatIntervalMs() {
        return fleet.heartbeatIntervalMs;
      },
      observe: (wanted) => coordinator.observe(wanted?.verdicts ?? false),
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
          sim: cpuSecondsOf(process.pid),
          beats: fleet.counts.beats,
          totals: (await coordinator.observe(false)).totals,
        });
        fleet.takeWorstLateMs();
        const before = await sample();
        await new Promise((resolve) => setTimeout(resolve, ms));
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
      silence: (selection) => fleet.silence(select(selection)),
      revive: (selection) => fleet.revive(select(selection)),
      async knockable(selection, isAnswered) {
        const addresses = select(selection).map(addressOf);
        for (const address of addresses) {
          if (isAnswered) silentAddresses.delete(address);
          else silentAddresses.add(address);
        }
        coordinator.tell({ type: "knocks", addresses, isAnswered });
        await coordinator.observe(false);
      },
      lag: (selection, ms) => fleet.lag(select(selection), ms),
      skew: (selection, ms) => fleet.skew(select(selection), ms),
      duplicate: (selection) => fleet.duplicate(select(selection), (clone, original) => bus.addClone(clone, original)),
      failSteps: (selection, failure) => fleet.failSteps(select(selection), failure),
      slowSteps: (selection, ms) => fleet.slowSteps(select(selection), ms),
      reportDelta: (selection) => fleet.reportDelta(select(selection)),
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
          for (const { nodeId, epoch, sealed, acked } of fleet.outboxes.ledger()) {
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

async function untilAllHaveBeaten(fleet: AgentFleet, agents: number): Promise<void> {
  for (let agent = 0; agent < agents; ) {
    if (fleet.columns.beatSeq[agent]! > 0 || fleet.columns.isSilent[agent] === 1) agent += 1;
    else await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
