/** The coordinator on real parts: files, NATS, sockets. Puts them together, starts them in order and stops them in reverse. */
import { flushCompileCache } from "node:module";
import { type Clock, type Component, lockDirectory, type Log, type Random, runGroup, systemClock, systemRandom } from "@drover/lifecycle";
import { type EmbeddedNats, openEmbeddedNats } from "./bus/embedded-nats.ts";
import { NatsBus } from "./bus/nats-bus.ts";
import { openOutsideNats, type OutsideNats } from "./bus/outside-nats.ts";
import { connectKubernetes } from "./cluster/kubernetes-api.ts";
import { openSecretBox } from "./cluster/secret-key-file.ts";
import type { SecretBox } from "./cluster/secret-box.ts";
import type { Config } from "./config/config.ts";
import { type Coordinator, createCoordinator } from "./coordinator.ts";
import { type BoundPorts, type DataFiles, dataFiles, makeDataDirectory, writePorts } from "./data-files.ts";
import { tcpConnect } from "./fleet/tcp-connect.ts";
import type { ConnectTcp } from "./fleet/tcp-path.ts";
import { hostAndPort } from "./host-and-port.ts";
import { type Authority, openAuthority } from "./identity/authority.ts";
import { createEnrolment, type Enrolment } from "./identity/enrolment.ts";
import type { NatsCredentialIssuer } from "./identity/nats-credential-issuer.ts";
import { Peers } from "./identity/peers.ts";
import { fileSnapshotStore } from "./ingest/snapshot-store.ts";
import { admissionTotals } from "./metrics/admission-totals.ts";
import { createMetrics, type Totals } from "./metrics/metrics.ts";
import { MetricsServer } from "./metrics/metrics-server.ts";
import { fileEvidenceStore } from "./repair/evidence-store.ts";
import { openSqliteReportLog } from "./reportlog/sqlite-report-log.ts";
import { enrolmentPortService, sessionPortEnrollmentService } from "./rpc/enrollment-service.ts";
import { Gate } from "./rpc/gate.ts";
import { askWebhook } from "./rollout/webhook.ts";
import { nodeSessionService } from "./rpc/node-session-service.ts";
import { operatorService } from "./rpc/operator-service.ts";
import { openServerIdentity } from "./rpc/server-credentials.ts";
import { RpcServers } from "./rpc/servers.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";
import type { Store } from "./store/store.ts";

export interface ServeOptions {
  readonly config: Config;
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Called when all ports serve. */
  readonly onServing?: (ports: BoundPorts, nats: NatsCredentialIssuer) => void;
  /** What silent nodes are knocked at with; left out: sockets. */
  readonly connectTcp?: ConnectTcp;
  /** What else runs beside the coordinator: ways in that only a simulation has. */
  readonly besides?: (coordinator: Coordinator) => readonly Component[];
}

/** Two on the same data would decide for the same nodes, and the one that stops would end the other's NATS. */
export class AlreadyRunning extends Error {
  override readonly name = "AlreadyRunning";
}

/**
 * Serves until the signal aborts.
 * @throws AlreadyRunning, NatsUnavailable, StoreUnusable, SecretKeyUnusable with what to do about it
 */
export async function serve(options: ServeOptions, signal: AbortSignal): Promise<void> {
  const { dataDir } = options.config;
  const lock = await lockDirectory("drover-coordinator", dataDir);
  if (!lock.isHeld) {
    throw new AlreadyRunning(
      `another drover-coordinator works on ${dataDir}; see it with: drover-coordinator doctor, or name another dataDir`,
    );
  }
  try {
    await serveLocked(options, signal);
  } finally {
    await lock.release();
  }
}

async function serveLocked(options: ServeOptions, signal: AbortSignal): Promise<void> {
  const { config, log, clock = systemClock, random = systemRandom } = options;
  const files = dataFiles(config.dataDir);
  await makeDataDirectory(files);
  const store = openSqliteStore(files.store, { clock, historyRevisions: config.limits.storeHistory });
  const reportLog = openSqliteReportLog(files.reportLog);
  try {
    const authority = await openAuthority(files.authority, clock);
    const identity = await openServerIdentity({ authority, hosts: config.advertisedHosts, clock, log });
    const nats = await openNats(config, files, { clock, random, log: log.child({ component: "nats" }) });
    const bus = new NatsBus({
      urls: nats.busUrls,
      caPem: nats.caPem,
      clock,
      random,
      log: log.child({ component: "bus" }),
      user: () => nats.coordinatorUser(),
      revokeUser: (publicKey, atMs) => nats.revokeUser(publicKey, atMs),
      noteStorage: (isThere) => nats.noteStorage(isThere),
    });
    let ports: BoundPorts | undefined;
    const endpointOf = (port: keyof BoundPorts): string => hostAndPort(config.advertisedHosts[0]!, ports?.[port] ?? 0);
    const coordinator = createCoordinator({
      store,
      reportLog,
      bus,
      clock,
      random,
      log,
      snapshotStore: fileSnapshotStore(files.snapshot),
      clusters: { box: secretBox(config, files, log), connect: connectKubernetes },
      evidence: fileEvidenceStore(files.evidence),
      connectTcp: options.connectTcp ?? tcpConnect(clock),
      askWebhook,
      enrolment: () => ({ caPin: authority.pin, endpoint: endpointOf("enrolment") }),
      heartbeatPace: config.heartbeats,
      maxSessions: config.limits.connections,
      keptAuditRecords: config.limits.auditRecords,
      keptReports: { ageMs: config.reportLog.maxAgeMs, bytes: config.reportLog.maxBytes },
    });
    const peers = new Peers({ catalog: coordinator.catalog, authority, clock });
    const serving: Component = {
      name: "ports",
      run: async (ended) => {
        await Promise.race([coordinator.ready, aborted(ended)]);
        if (ended.aborted) return;
        const doors = openDoors({ config, log, clock, random, store, authority, peers, identity, nats, coordinator }, () =>
          endpointOf("session"),
        );
        const bound = await doors.listen();
        ports = bound;
        writePorts(files, bound);
        log.info({ ...bound, hosts: config.advertisedHosts, caPin: authority.pin }, "serving");
        options.onServing?.(bound, nats);
        // Where the compiled form is kept it is kept now: who is killed leaves nothing at the end.
        flushCompileCache();
        await doors.run(ended);
      },
    };
    await runGroup(
      [
        { name: "nats", run: (ended) => nats.run(ended) },
        { name: "bus", run: (ended) => bus.run(ended) },
        { name: "authority", run: (ended) => authority.run(ended, log.child({ component: "authority" })) },
        { name: "identity", run: (ended) => identity.run(ended) },
        { name: "coordinator", run: (ended) => coordinator.run(ended) },
        ...(options.besides?.(coordinator) ?? []),
        serving,
      ],
      signal,
    );
  } finally {
    await reportLog.close();
    await store.close();
  }
}

function secretBox(config: Config, files: DataFiles, log: Log): SecretBox {
  const keyFile = config.secretKeyFile ?? files.secretKey;
  const { box, isNew } = openSecretBox(keyFile);
  if (isNew) log.warn({ keyFile, keyId: box.keyId }, "made the key of stored secrets: back it up apart from the store");
  return box;
}

/** The server that the coordinator brings along, running; or a cluster that is somebody else's, not asked yet. */
async function openNats(
  config: Config,
  files: DataFiles,
  ports: { readonly clock: Clock; readonly random: Random; readonly log: Log },
): Promise<EmbeddedNats | OutsideNats> {
  if (config.nats.kind === "outside") return openOutsideNats({ ...config.nats, trustDir: files.natsTrust, ...ports });
  const embedded = await openEmbeddedNats({
    trustDir: files.natsTrust,
    dataDir: files.nats,
    port: config.nats.port,
    host: config.listen.session.host,
    advertisedHosts: config.advertisedHosts,
    ...(config.nats.program === undefined ? {} : { binaryPath: config.nats.program }),
    ...ports,
  });
  await embedded.ensureRunning();
  return embedded;
}

interface DoorParts {
  readonly config: Config;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
  readonly store: Store;
  readonly authority: Authority;
  readonly peers: Peers;
  readonly identity: Awaited<ReturnType<typeof openServerIdentity>>;
  readonly nats: NatsCredentialIssuer;
  readonly coordinator: Coordinator;
}

/** gRPC and metrics: bound together, ended together, gRPC first. */
function openDoors(parts: DoorParts, sessionEndpoint: () => string) {
  const { config, log, clock, random, store, authority, peers, identity, nats, coordinator } = parts;
  const rpcLog = log.child({ component: "rpc" });
  const gate = new Gate({ peers, store, clock, random, log: rpcLog });
  const streams = { live: gate.live, clock, log: rpcLog };
  const enrolment = whenBound(() =>
    createEnrolment({ store, authority, nats, clock, random, log: rpcLog, sessionEndpoint: sessionEndpoint() }),
  );
  const servers = new RpcServers({
    sessionAddress: config.listen.session,
    enrolmentAddress: config.listen.enrolment,
    gate,
    clock,
    log: rpcLog,
    tls: identity,
    limits: config.limits,
    nodeSession: nodeSessionService({
      ...streams,
      gate,
      converse: ({ nodeId }, inbound, signal) => coordinator.converse(nodeId, inbound, signal),
    }),
    operator: operatorService({ ...streams, gate, calls: coordinator.operator }),
    renewal: sessionPortEnrollmentService({ enrolment, peers, log: rpcLog }),
    enrolment: enrolmentPortService({ enrolment, log: rpcLog }),
  });
  const totals = (): ReturnType<Totals> => ({ ...coordinator.totals(), ...admissionTotals(servers.admission()) });
  const metrics = createMetrics({ census: () => coordinator.census(), totals, liveCalls: () => gate.live.count });
  const metricsServer = new MetricsServer({ ...config.listen.metrics, metrics, unready: () => coordinator.unready(), log });
  return {
    async listen(): Promise<BoundPorts> {
      const metricsPort = await metricsServer.listen();
      const { sessionPort, enrolmentPort } = await servers.listen();
      return { session: sessionPort, enrolment: enrolmentPort, metrics: metricsPort };
    },
    async run(signal: AbortSignal): Promise<void> {
      const ended = new AbortController();
      const metricsEnded = metricsServer.run(ended.signal);
      servers.setServing(true);
      await aborted(signal);
      coordinator.sessions.stop();
      await servers.stop();
      ended.abort();
      await metricsEnded;
    },
  };
}

/** What enrolled machines are told is known once the ports are bound, which is before anybody can ask. */
function whenBound(create: () => Enrolment): Enrolment {
  let created: Enrolment | undefined;
  const enrolment = (): Enrolment => (created ??= create());
  return {
    enroll: (request, from) => enrolment().enroll(request, from),
    renew: (peer, request) => enrolment().renew(peer, request),
    recover: (request, from) => enrolment().recover(request, from),
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
