/** A real embedded NATS in a directory of its own, with nodes that speak to it by their own credentials. Imported by tests only. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog, systemClock, systemRandom } from "@drover/lifecycle";
import { Budget, shardOf, subjects, ToNode } from "@drover/proto";
import { connect, jwtAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import type { AgentPort } from "./agent-port.ts";
import { type EmbeddedNats, type EmbeddedNatsOptions, openEmbeddedNats } from "./embedded-nats.ts";
import { NatsBus } from "./nats-bus.ts";
import { Nkey } from "./nkey.ts";

export interface NatsTestbed {
  readonly dir: string;
  readonly nats: EmbeddedNats;
  options(): EmbeddedNatsOptions;
  /** The coordinator's bus, running until close. */
  bus(): NatsBus;
  key(nodeId: string): Nkey;
  connectNode(nodeId: string, options?: { readonly reconnect?: boolean; readonly notAfterMs?: number }): Promise<NatsConnection>;
  agentPort(nodeId: string): AgentPort;
  close(): Promise<void>;
}

export async function openNatsTestbed(): Promise<NatsTestbed> {
  const dir = mkdtempSync(join(tmpdir(), "drover-nats-"));
  const ports = { clock: systemClock, random: systemRandom, log: silentLog };
  const options = (): EmbeddedNatsOptions => ({ trustDir: join(dir, "trust"), dataDir: join(dir, "nats"), port: 0, ...ports });
  const nats = await openEmbeddedNats(options());
  await nats.ensureRunning();
  const keys = new Map<string, Nkey>();
  const stop = new AbortController();
  const running: Promise<void>[] = [];
  const connections: NatsConnection[] = [];
  const key = (nodeId: string): Nkey => {
    const known = keys.get(nodeId) ?? Nkey.create("user");
    keys.set(nodeId, known);
    return known;
  };
  const connectNode: NatsTestbed["connectNode"] = async (nodeId, { reconnect = false, notAfterMs } = {}) => {
    const user = key(nodeId);
    const jwt = nats.issueUserJwt({ nodeId, publicKey: user.publicKey, notAfterMs: notAfterMs ?? Date.now() + 3_600_000 });
    const connection = await connect({
      servers: [...nats.urls],
      name: nodeId,
      tls: { ca: nats.caPem },
      authenticator: jwtAuthenticator(jwt, Buffer.from(user.seed())),
      reconnect,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 50,
      ignoreAuthErrorAbort: true,
    });
    connections.push(connection);
    return connection;
  };
  return {
    dir,
    nats,
    options,
    key,
    connectNode,
    bus() {
      const bus = new NatsBus({
        urls: [nats.localUrl],
        caPem: nats.caPem,
        user: () => nats.coordinatorUser(),
        revokeUser: (publicKey, atMs) => nats.revokeUser(publicKey, atMs),
        reportsMaxBytes: 64 * 1024 * 1024,
        ...ports,
      });
      running.push(bus.run(stop.signal));
      return bus;
    },
    agentPort: (nodeId) => natsAgentPort(nodeId, () => connectNode(nodeId, { reconnect: true })),
    async close() {
      stop.abort();
      await Promise.all(connections.map((connection) => connection.close()));
      await Promise.all(running);
      await nats.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function natsAgentPort(nodeId: string, open: () => Promise<NatsConnection>): AgentPort {
  let connection: NatsConnection | undefined;
  let isConnected = false;
  let listenToNode: (message: ToNode) => void = () => {};
  let listenBudget: (budget: Budget) => void = () => {};
  let listenConnected = (): void => {};
  return {
    get isConnected() {
      return isConnected;
    },
    publishHeartbeat(beat) {
      if (isConnected) connection?.publish(subjects.heartbeat(nodeId), beat);
    },
    publishReport(batch) {
      if (isConnected) connection?.publish(subjects.report(nodeId), batch);
      return isConnected;
    },
    onToNode(listen) {
      listenToNode = listen;
    },
    onBudget(listen) {
      listenBudget = listen;
    },
    onConnected(listen) {
      listenConnected = listen;
    },
    async run(signal) {
      const opened = await open();
      connection = opened;
      signal.addEventListener("abort", () => void opened.close(), { once: true });
      opened.subscribe(subjects.toNode(nodeId), { callback: (_error, message) => listenToNode(ToNode.decode(message.data)) });
      opened.subscribe(subjects.budget(shardOf(nodeId)), { callback: (_error, message) => listenBudget(Budget.decode(message.data)) });
      await opened.flush();
      isConnected = true;
      listenConnected();
      for await (const status of opened.status()) {
        if (status.type === "disconnect") isConnected = false;
        if (status.type === "reconnect") {
          isConnected = true;
          listenConnected();
        }
      }
      isConnected = false;
    },
  };
}
