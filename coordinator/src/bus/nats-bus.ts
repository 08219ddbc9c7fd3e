/**
 * The bus on a real NATS. Owns the connection, the streams and the consumers, all of which may vanish at any time and are made again;
 * what the messages mean is left to ingest and fleet.
 */
import { type Clock, exponentialBackoff, type Log, type Random, sleep, withDeadline } from "@drover/lifecycle";
import { type Ack, Budget, Heartbeat, nodeOfSubject, streams, subjects, ToNode, type Wake } from "@drover/proto";
import { AckPolicy, type ConsumerConfig, DeliverPolicy, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, jwtAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import type { Bus, HeartbeatMessage, ReportHandler, ReportPosition } from "./bus.ts";
import { resumeAt } from "./incarnation.ts";
import { ConsumerLost, pullBatches } from "./nats-pull.ts";
import { ensureStream, heartbeatsStream, reportsStream } from "./nats-streams.ts";
import type { NatsUser } from "./nats-trust.ts";

export interface NatsBusOptions {
  readonly urls: readonly string[];
  readonly caPem: string;
  /** Asked at each connect, so that an outside credential may be renewed. */
  readonly user: () => NatsUser;
  readonly revokeUser: (publicKey: string, atMs: number) => Promise<void>;
  /** Told when it is known from the server's answers: whether the account has JetStream at all. */
  readonly noteStorage?: (isThere: boolean) => void;
  /** Of the REPORTS stream; default 1 GiB. */
  readonly reportsMaxBytes?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const HEARTBEAT_BATCH = 2_000;
/** No verdict is made sooner than half a minute after a beat: of 10,000 nodes 250 beats come together. */
const HEARTBEATS_EVERY_MS = 250;
const REPORT_BATCH = 500;
/** Each pull costs an fsync: in a busy fleet reports arrive every millisecond, and none is worth one of its own. */
const REPORT_REST_MS = 40;
const API_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;
const ROUND_TRIP_DEADLINE_MS = 2_000;
/** Consumers of a dead coordinator go away by themselves. */
const CONSUMER_INACTIVE_MS = 60_000;
/** Longer than any handler may take: a redelivery would only be thrown away. */
const ACK_WAIT_MS = 600_000;
const NANOS_PER_MS = 1_000_000;

export class NatsBus implements Bus {
  readonly #options: NatsBusOptions;
  #connection: NatsConnection | undefined;
  /** Aborts when the present connection breaks; a new one at each connect. */
  #link: AbortController | undefined;
  #waiting: (() => void)[] = [];

  constructor(options: NatsBusOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#link !== undefined;
  }

  /** Keeps the connection, for ever, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#options;
    const backoff = exponentialBackoff(random, { baseMs: 200, maxMs: 10_000 });
    while (!signal.aborted) {
      try {
        await this.#keepConnection(signal, () => backoff.reset());
      } catch (error) {
        log.warn({ error: (error as Error).message }, "no connection to NATS");
      }
      if (!signal.aborted) await sleep(clock, backoff.nextDelayMs(), signal).catch(() => undefined);
    }
  }

  wake(nodeId: string, wake: Wake): void {
    this.#publish(subjects.toNode(nodeId), ToNode.encode({ body: { $case: "wake", value: wake } }).finish());
  }

  acknowledge(nodeId: string, ack: Ack): void {
    this.#publish(subjects.toNode(nodeId), ToNode.encode({ body: { $case: "ack", value: ack } }).finish());
  }

  grantBudget(shard: number, budget: Budget): void {
    this.#publish(subjects.budget(shard), Budget.encode(budget).finish());
  }

  publishSentinel(sequence: number): void {
    this.#publish(subjects.sentinel, Heartbeat.encode(Heartbeat.fromPartial({ seq: sequence })).finish());
  }

  async consumeHeartbeats(handle: (beats: readonly HeartbeatMessage[]) => void | Promise<void>, signal: AbortSignal): Promise<void> {
    await this.#consume("heartbeats", signal, async (connection, manager, link) => {
      await ensureStream(manager, heartbeatsStream);
      // LastPerSubject is refused without a filter, even when it is all of the stream.
      const config = { deliver_policy: DeliverPolicy.LastPerSubject, filter_subject: subjects.allHeartbeats, ack_policy: AckPolicy.None };
      await this.#withConsumer(manager, streams.heartbeats, config, (consumer) =>
        pullBatches(
          {
            connection,
            stream: streams.heartbeats,
            consumer,
            batchMessages: HEARTBEAT_BATCH,
            isAcked: false,
            everyMs: HEARTBEATS_EVERY_MS,
            clock: this.#options.clock,
            handle: async (messages) => {
              const beats: HeartbeatMessage[] = [];
              for (const { subject, payload, brokerMs } of messages) {
                const nodeId = nodeOfSubject(subject);
                if (nodeId !== undefined || subject === subjects.sentinel) beats.push({ nodeId, payload, brokerMs });
              }
              if (beats.length > 0) await guarded(async () => handle(beats));
            },
          },
          link,
        ),
      );
    });
  }

  async consumeReports(after: ReportPosition | undefined, handle: ReportHandler, signal: AbortSignal): Promise<void> {
    let position = after;
    await this.#consume("reports", signal, async (connection, manager, link) => {
      const stream = await ensureStream(manager, reportsStream(this.#options.reportsMaxBytes ?? 1024 ** 3));
      const from = resumeAt(position, stream.created, stream.state.last_seq);
      if (position !== undefined && position.incarnation !== from.incarnation) {
        this.#options.log.warn({ was: position, is: from }, "the REPORTS stream was made anew or went backwards; nodes send again");
      }
      position = from;
      const start = { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: from.sequence + 1 };
      const config = { ...start, ack_policy: AckPolicy.All, ack_wait: ACK_WAIT_MS * NANOS_PER_MS, max_ack_pending: 4 * REPORT_BATCH };
      await this.#withConsumer(manager, streams.reports, config, (consumer) =>
        pullBatches(
          {
            connection,
            stream: streams.reports,
            consumer,
            batchMessages: REPORT_BATCH,
            isAcked: true,
            restMs: REPORT_REST_MS,
            clock: this.#options.clock,
            handle: async (pulled, waiting) => {
              const { incarnation, sequence } = position ?? from;
              const messages = pulled.flatMap(({ subject, payload, streamSequence }) => {
                const nodeId = nodeOfSubject(subject);
                return nodeId === undefined || streamSequence <= sequence ? [] : [{ nodeId, payload, sequence: streamSequence }];
              });
              const last = pulled.at(-1);
              if (last === undefined || messages.length === 0) return undefined;
              const pull = { incarnation, firstSequence: messages[0]!.sequence, lastSequence: last.streamSequence, messages, waiting };
              const afterAck = await guarded(() => handle(pull));
              position = { incarnation, sequence: last.streamSequence };
              return afterAck;
            },
          },
          link,
        ),
      );
    });
  }

  async roundTripMs(): Promise<number> {
    const connection = this.#connection;
    if (connection === undefined || !this.isConnected) throw new Error("no connection to NATS");
    return withDeadline(this.#options.clock, "a round trip to NATS", ROUND_TRIP_DEADLINE_MS, undefined, () => connection.rtt());
  }

  revokeUser(publicKey: string, atMs: number): Promise<void> {
    return this.#options.revokeUser(publicKey, atMs);
  }

  /** Hints only: without a connection they are dropped, not hoarded for a moment when they are stale. */
  #publish(subject: string, payload: Uint8Array): void {
    if (this.isConnected) this.#connection?.publish(subject, payload);
  }

  async #keepConnection(signal: AbortSignal, onConnected: () => void): Promise<void> {
    const { log, random } = this.#options;
    const backoff = exponentialBackoff(random, { baseMs: 200, maxMs: 5_000 });
    const connection = await connect({
      servers: [...this.#options.urls],
      name: "drover-coordinator",
      tls: { ca: this.#options.caPem },
      authenticator: (nonce) => {
        const user = this.#options.user();
        return jwtAuthenticator(user.jwt, Buffer.from(user.seed))(nonce);
      },
      ignoreAuthErrorAbort: true,
      maxReconnectAttempts: -1,
      reconnectDelayHandler: () => backoff.nextDelayMs(),
      timeout: CONNECT_TIMEOUT_MS,
      pingInterval: 10_000,
      maxPingOut: 2,
    });
    const onAbort = (): void => void connection.close();
    signal.addEventListener("abort", onAbort);
    try {
      if (signal.aborted) await connection.close();
      this.#connection = connection;
      onConnected();
      this.#linkUp();
      for await (const status of connection.status()) {
        if (status.type === "disconnect") {
          log.warn({ server: status.server }, "connection to NATS lost");
          this.#linkDown();
        } else if (status.type === "reconnect") {
          log.info({ server: status.server }, "connected to NATS again");
          backoff.reset();
          this.#linkUp();
        }
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#linkDown();
      this.#connection = undefined;
      await connection.close();
    }
  }

  #linkUp(): void {
    this.#linkDown();
    this.#link = new AbortController();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #linkDown(): void {
    const link = this.#link;
    this.#link = undefined;
    link?.abort(new ConsumerLost("connection lost"));
  }

  /** Runs `session` on each connection until it fails or the connection breaks, again and again, until the signal aborts. */
  async #consume(
    what: string,
    signal: AbortSignal,
    session: (connection: NatsConnection, manager: JetStreamManager, link: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const { clock, log, random, noteStorage } = this.#options;
    const backoff = exponentialBackoff(random, { baseMs: 100, maxMs: 2_000 });
    while (!signal.aborted) {
      await this.#connected(signal);
      const connection = this.#connection;
      const link = this.#link;
      if (connection === undefined || link === undefined) continue;
      const startedAtMs = clock.monotonicMs();
      try {
        const manager = await jetstreamManager(connection, { timeout: API_TIMEOUT_MS, checkAPI: false });
        await session(connection, manager, AbortSignal.any([signal, link.signal]));
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof HandlerFailed) throw error.cause;
        // What ran for a while had its streams. The library keeps the class of the error to itself, and only tells its name.
        if (clock.monotonicMs() - startedAtMs > 10_000) noteStorage?.(true);
        if ((error as Error).name === "JetStreamNotEnabled") noteStorage?.(false);
        log.warn({ what, error: (error as Error).message }, "consumer lost; making it anew");
      }
      if (clock.monotonicMs() - startedAtMs > 10_000) backoff.reset();
      if (!signal.aborted) await sleep(clock, backoff.nextDelayMs(), signal).catch(() => undefined);
    }
  }

  async #withConsumer(
    manager: JetStreamManager,
    stream: string,
    config: Partial<ConsumerConfig>,
    use: (consumer: string) => Promise<void>,
  ): Promise<void> {
    const name = `drover_${this.#options.random.bytes(8).toString("hex")}`;
    await manager.consumers.add(stream, {
      ...config,
      name,
      inactive_threshold: CONSUMER_INACTIVE_MS * NANOS_PER_MS,
      num_replicas: 1,
      mem_storage: true,
    });
    try {
      await use(name);
    } finally {
      if (this.isConnected) void manager.consumers.delete(stream, name).catch(() => undefined);
    }
  }

  async #connected(signal: AbortSignal): Promise<void> {
    while (!this.isConnected && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const proceed = (): void => {
          signal.removeEventListener("abort", proceed);
          resolve();
        };
        this.#waiting.push(proceed);
        signal.addEventListener("abort", proceed);
      });
    }
  }
}

/** The handler's own failure, told apart from the broker's: it ends the consuming, where a lost consumer is only made anew. */
class HandlerFailed extends Error {
  override readonly name = "HandlerFailed";
}

async function guarded<T>(handle: () => Promise<T>): Promise<T> {
  try {
    return await handle();
  } catch (cause) {
    throw new HandlerFailed("the handler failed", { cause });
  }
}
