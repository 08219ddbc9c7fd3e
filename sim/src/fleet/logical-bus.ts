/** The bus of logical agents: few NATS connections as a user who may speak for all, each agent always on the same one. */
import { Budget, SHARD_COUNT, subjects, ToNode } from "@drover/proto";
import { connect, jwtAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import type { FleetBus } from "./ports.ts";

export interface LogicalBusParts {
  readonly url: string;
  readonly caPem: string;
  readonly user: { readonly jwt: string; readonly seed: string };
  readonly connections: number;
  readonly onToNode: (nodeId: string, message: ToNode) => void;
  readonly onBudget: (shard: number, budget: Budget) => void;
  /** Of the connection with that number. */
  readonly onConnected: (connection: number) => void;
  readonly onDisconnected: (connection: number) => void;
}

export class LogicalBus implements FleetBus {
  readonly #connections: NatsConnection[] = [];
  readonly #isUp: boolean[] = [];
  readonly #heartbeats: string[];
  readonly #reports: string[];

  private constructor(nodeIds: readonly string[]) {
    this.#heartbeats = nodeIds.map((nodeId) => subjects.heartbeat(nodeId));
    this.#reports = nodeIds.map((nodeId) => subjects.report(nodeId));
  }

  static async open(nodeIds: readonly string[], parts: LogicalBusParts): Promise<LogicalBus> {
    const bus = new LogicalBus(nodeIds);
    for (let at = 0; at < parts.connections; at += 1) await bus.#open(at, parts);
    const first = bus.#connections[0]!;
    first.subscribe("drover.to.*", {
      callback: (error, { subject, data }) => {
        if (error === null) parts.onToNode(subject.slice(subject.lastIndexOf(".") + 1), ToNode.decode(data));
      },
    });
    for (let shard = 0; shard < SHARD_COUNT; shard += 1) {
      first.subscribe(subjects.budget(shard), {
        callback: (error, { data }) => {
          if (error === null) parts.onBudget(shard, Budget.decode(data));
        },
      });
    }
    await first.flush();
    return bus;
  }

  /** Which connection an agent is on. */
  connectionOf(agent: number): number {
    return agent % this.#connections.length;
  }

  publishHeartbeat(agent: number, payload: Uint8Array): void {
    const at = this.connectionOf(agent);
    if (this.#isUp[at] === true) this.#connections[at]!.publish(this.#heartbeats[agent]!, payload);
  }

  publishReport(agent: number, payload: Uint8Array): boolean {
    const at = this.connectionOf(agent);
    if (this.#isUp[at] !== true) return false;
    this.#connections[at]!.publish(this.#reports[agent]!, payload);
    return true;
  }

  /** A clone speaks on its original's subjects. */
  addClone(clone: number, original: number): void {
    this.#heartbeats[clone] = this.#heartbeats[original]!;
    this.#reports[clone] = this.#reports[original]!;
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  async #open(at: number, { url, caPem, user, onConnected, onDisconnected }: LogicalBusParts): Promise<void> {
    const connection = await connect({
      name: `drover-sim-${at}`,
      servers: url,
      tls: { ca: caPem },
      authenticator: jwtAuthenticator(user.jwt, Buffer.from(user.seed)),
      noEcho: true,
      noAsyncTraces: true,
      ignoreClusterUpdates: true,
      // The product's server waits as long for a handshake; a machine that runs a whole fleet besides may need it.
      timeout: 30_000,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 1_000,
      reconnectJitter: 500,
      reconnectJitterTLS: 500,
    });
    this.#connections[at] = connection;
    this.#isUp[at] = true;
    void this.#follow(at, connection, onConnected, onDisconnected);
  }

  async #follow(at: number, connection: NatsConnection, up: (at: number) => void, down: (at: number) => void): Promise<void> {
    for await (const { type } of connection.status()) {
      if (type === "disconnect") {
        this.#isUp[at] = false;
        down(at);
      } else if (type === "reconnect") {
        this.#isUp[at] = true;
        up(at);
      }
    }
  }
}
