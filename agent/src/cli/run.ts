/** `drover-agent run`: from configuration to a running agent, and down again in order. */
import { randomBytes } from "node:crypto";
import { type Log, runGroup, stopSignal, StopRequested, systemClock, systemRandom } from "@drover/lifecycle";
import type { Facts } from "@drover/proto";
import { type AgentIntervals, createAgent, defaultIntervals } from "../agent.ts";
import type { AgentConfig } from "../config/agent-config.ts";
import { collectFacts } from "../facts/facts.ts";
import { type ServiceNotifier, serviceNotifier } from "../notify/service-notifier.ts";
import { type Failpoint, failpointFrom, noFailpoint } from "../reconcile/failpoints.ts";
import { CredentialRotation } from "../session/credential-rotation.ts";
import { untilClockCredible } from "../session/credible-clock.ts";
import { enrol } from "../session/enrol.ts";
import { GrpcSessions } from "../session/grpc-sessions.ts";
import { IdentityStore, type NodeIdentity } from "../session/identity.ts";
import { removeJoinToken } from "../session/join-token-file.ts";
import { NatsBus } from "../session/nats-bus.ts";
import { FileStateDirectory } from "../state/index.ts";
import { steps } from "../steps/index.ts";
import { agentVersion, buildDateMs } from "../version.ts";
import { heapCollection, ownHeap } from "./heap-collection.ts";
import { lockStateDirectory } from "./instance-lock.ts";
import { loadConfig, USAGE } from "./load-config.ts";
import { answerLocally } from "./local-socket.ts";
import { makeLog } from "./logger.ts";
import { machineAt } from "./machine.ts";
import type { ConfigOption, Surroundings } from "./program.ts";
import type { AgentAnswer } from "./status.ts";

/** An orderly stop after a failure may not take longer. */
const HARD_STOP_MS = 30_000;
/** Twice the longest interval that a budget grants: a connected agent that has not beaten for that long hangs. */
const LONGEST_BEAT_GAP_MS = 1_200_000;

export async function run(options: ConfigOption, around: Surroundings): Promise<number> {
  const { environment } = around;
  const config = await loadConfig(options.config, around);
  if (config === undefined) return USAGE;
  const lock = await lockStateDirectory(config.stateDir);
  if (!lock.isHeld) {
    around.err(
      `another drover-agent works on ${config.stateDir}; next: drover-agent status, or name another stateDir in ${options.config}\n`,
    );
    return 1;
  }
  const log = makeLog(config.logLevel, environment.JOURNAL_STREAM !== undefined);
  const notifier = serviceNotifier(environment.NOTIFY_SOCKET);
  const signal = stopSignal(HARD_STOP_MS);
  endOnStrayErrors(log);
  try {
    await serve(config, environment, log, notifier, signal);
    return 0;
  } catch (error) {
    if (error instanceof StopRequested) return 0;
    log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, "agent ended by an error");
    return 1;
  } finally {
    notifier.stopping();
    await lock.release();
  }
}

/** What nobody awaits may be an fsync that failed: nothing is known about the disk then. */
function endOnStrayErrors(log: Log): void {
  const end = (error: unknown): void => {
    log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, "stray error, ending");
    process.exit(1);
  };
  process.on("uncaughtException", end);
  process.on("unhandledRejection", end);
}

async function serve(
  config: AgentConfig,
  environment: Surroundings["environment"],
  log: Log,
  notifier: ServiceNotifier,
  signal: AbortSignal,
): Promise<void> {
  const clock = systemClock;
  const random = systemRandom;
  const state = await FileStateDirectory.open(config.stateDir);
  let status = (): AgentAnswer => ({ agentVersion });
  let enforced = (): string | undefined => undefined;
  const local = await answerLocally(config.stateDir, { status: () => status(), enforced: () => enforced() });
  notifier.ready();
  const { host } = machineAt(undefined, clock, config.containerdAddress);
  const facts = (): Promise<Facts> => collectFacts({ host, clock, agentVersion }, signal);
  const identity = await identityFor(config, state, log, notifier, facts, signal);
  const rotation = new CredentialRotation(
    { clock, random, log, store: new IdentityStore(state), endpoint: config.coordinator, tell: (sentence) => notifier.status(sentence) },
    identity,
  );
  const bus = new NatsBus({ clock, random, log: log.child({ component: "nats" }), credentials: rotation });
  const agent = createAgent({
    nodeId: identity.nodeId,
    agentVersion,
    host,
    steps,
    state,
    bus,
    sessions: new GrpcSessions(clock, rotation),
    clock,
    random,
    log: log.child({ node: identity.nodeId }),
    intervals: intervalsOf(config),
    facts,
    failpoint: failpointOf(environment.DROVER_FAILPOINT, log),
    processId: randomBytes(16),
  });
  status = () => ({ agentVersion, ...agent.status(), certificateUntil: new Date(rotation.current.notAfterMs).toISOString() });
  enforced = () => agent.enforcedPlan()?.toString("base64");
  notifier.status(`node ${identity.nodeId}`);
  let turns = 0;
  const countTurns = (): number => (bus.isConnected && bus.msSinceBeat > LONGEST_BEAT_GAP_MS ? turns : ++turns);
  const heap = ownHeap();
  const collection = heap === undefined ? [] : [heapCollection(clock, heap)];
  try {
    await runGroup(
      [rotation, notifier.watchdog(clock, countTurns), ...collection, { name: "agent", run: (stop) => agent.run(stop) }],
      signal,
    );
  } finally {
    host.containerd.close();
    await local.close();
  }
}

/** With a short poll, for tests, everything else that opens sessions is as quick. */
function intervalsOf({ intervals }: AgentConfig): Partial<AgentIntervals> {
  const { poll, driftScan } = intervals;
  return {
    pollMs: poll,
    driftScanMs: driftScan,
    firstSessionMs: Math.min(poll, defaultIntervals.firstSessionMs),
    pollWithoutBusMs: Math.min(poll, defaultIntervals.pollWithoutBusMs),
    reopenBaseMs: Math.min(poll, defaultIntervals.reopenBaseMs),
  };
}

/** "name:k" kills this process at the k-th passing of that place: how campaigns prove that it resumes. "record" logs each passing. */
function failpointOf(setting: string | undefined, log: Log): Failpoint {
  if (setting === "record") return (failpoint) => log.info({ failpoint }, "failpoint passed");
  return setting === undefined || setting === "" ? noFailpoint : failpointFrom(setting, () => process.kill(process.pid, "SIGKILL"));
}

/** The one on disk, or a new one; only a machine that never enrolled waits for its coordinator here. */
async function identityFor(
  config: AgentConfig,
  state: FileStateDirectory,
  log: Log,
  notifier: ServiceNotifier,
  facts: () => Promise<Facts>,
  signal: AbortSignal,
): Promise<NodeIdentity> {
  const store = new IdentityStore(state);
  const known = await store.load();
  if (known !== undefined) {
    if (known.notAfterMs > systemClock.now()) await removeJoinToken(config.joinTokenFile, log);
    return known;
  }
  const onWait = (): void => {
    log.warn({ reason: "ClockNotCredible", now: new Date(systemClock.now()).toISOString() }, "waiting for the clock");
    notifier.status("ClockNotCredible: waiting for time synchronisation");
  };
  await untilClockCredible(systemClock, buildDateMs, onWait, signal);
  return enrol(
    {
      clock: systemClock,
      random: systemRandom,
      log,
      store,
      endpoint: config.coordinator,
      caPin: config.caPin,
      joinTokenFile: config.joinTokenFile,
      machineName: config.name ?? "",
      facts,
      tell: (sentence) => notifier.status(sentence),
    },
    signal,
  );
}
