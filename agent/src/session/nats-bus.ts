/**
 * AgentBus over NATS. Each connection is new: ours is the loop that makes the next one, with jitter, and with whatever
 * credential is current by then. What cannot be sent now is dropped and counted; the outbox sends reports again.
 */
import {
  type Backoff,
  type Clock,
  type Component,
  exponentialBackoff,
  type Log,
  type Random,
  sleep,
  withDeadline,
} from "@drover/lifecycle";
import { Budget, shardOf, subjects, ToNode } from "@drover/proto";
import { connect, jwtAuthenticator, type Msg, type NatsConnection } from "@nats-io/transport-node";
import type { AgentBus } from "../ports.ts";
import type { CredentialSource } from "./credential-rotation.ts";
import type { NodeIdentity } from "./identity.ts";

const CONNECT_TIMEOUT_MS = 30_000;
const SUBSCRIBE_TIMEOUT_MS = 10_000;
const DRAIN_TIMEOUT_MS = 5000;
/** The library's own pings come when nothing else is sent, three packets each: ours go with beats, and these never come. */
const LIBRARY_PING_MS = 86_400_000;
/** With the first beat after this time a round trip is asked for, in the beat's own packet; the answer carries the beat's TCP acknowledgement. */
const PROBE_EVERY_MS = 120_000;
/** A peer that has not answered by then is taken for dead. */
const PROBE_TIMEOUT_MS = 60_000;
/** Written but not known to have arrived; at the first a round trip is asked for, beyond the second nothing is taken. */
const ROUND_TRIP_AT_BYTES = 32 * 1024;
const MAX_OUTBOUND_BYTES = 256 * 1024;

export interface NatsBusParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly credentials: CredentialSource;
}

export class NatsBus implements AgentBus, Component {
  readonly name = "nats";
  readonly #parts: NatsBusParts;
  readonly #backoff: Backoff;
  #onToNode: (message: ToNode) => void = () => {};
  #onBudget: (budget: Budget) => void = () => {};
  #onConnected: () => void = () => {};
  #connection: NatsConnection | undefined;
  #nodeId: string;
  #unconfirmedBytes = 0;
  #isRoundTripUnderWay = false;
  #isCredentialStale = false;
  #lastBeatMs = Number.NEGATIVE_INFINITY;
  #lastProbeMs = 0;
  /** Ends the connection that is held, whatever the library thinks of it. */
  #leave: (why: Error) => void = () => {};
  #dropped = { heartbeats: 0, reports: 0, garbled: 0 };

  constructor(parts: NatsBusParts) {
    this.#parts = parts;
    this.#nodeId = parts.credentials.current.nodeId;
    this.#backoff = exponentialBackoff(parts.random, { baseMs: 2000, maxMs: 60_000 });
    parts.credentials.onRotated(() => {
      this.#isCredentialStale = true;
      void this.#connection?.close();
    });
  }

  get isConnected(): boolean {
    return this.#connection !== undefined;
  }

  /** Since the start: what was not taken for want of a connection or of room, and what came in and could not be read. */
  get dropped(): Readonly<{ heartbeats: number; reports: number; garbled: number }> {
    return { ...this.#dropped };
  }

  /** Since somebody last wanted a heartbeat sent; monotonic. */
  get msSinceBeat(): number {
    return this.#parts.clock.monotonicMs() - this.#lastBeatMs;
  }

  onToNode(listen: (message: ToNode) => void): void {
    this.#onToNode = listen;
  }

  onBudget(listen: (budget: Budget) => void): void {
    this.#onBudget = listen;
  }

  onConnected(listen: () => void): void {
    this.#onConnected = listen;
  }

  publishHeartbeat(beat: Uint8Array): void {
    this.#lastBeatMs = this.#parts.clock.monotonicMs();
    if (!this.#publish(subjects.heartbeat(this.#nodeId), beat)) this.#dropped.heartbeats += 1;
    else if (this.#lastBeatMs - this.#lastProbeMs >= PROBE_EVERY_MS) void this.#probe(this.#connection!);
  }

  publishReport(batch: Uint8Array): boolean {
    const isTaken = this.#publish(subjects.report(this.#nodeId), batch);
    if (!isTaken) this.#dropped.reports += 1;
    return isTaken;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#oneConnection(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#parts.log.warn({ error: String(error) }, "NATS connection not made");
      }
      if (signal.aborted) return;
      if (this.#isCredentialStale) continue;
      await sleep(this.#parts.clock, this.#backoff.nextDelayMs(), signal).catch(() => undefined);
    }
  }

  /** Resolves when the connection has ended, whoever ended it. @throws when it cannot be made */
  async #oneConnection(signal: AbortSignal): Promise<void> {
    const { clock, credentials, log } = this.#parts;
    this.#isCredentialStale = false;
    const identity = credentials.current;
    const connection = await withDeadline(clock, "connecting to NATS", 2 * CONNECT_TIMEOUT_MS, signal, (inner) =>
      connectToNats(identity, inner),
    );
    try {
      this.#subscribe(connection, identity.nodeId);
      await withDeadline(clock, "subscribing", SUBSCRIBE_TIMEOUT_MS, signal, () => connection.flush());
      if (this.#isCredentialStale) return;
      this.#nodeId = identity.nodeId;
      this.#unconfirmedBytes = 0;
      this.#isRoundTripUnderWay = false;
      this.#lastProbeMs = clock.monotonicMs();
      this.#connection = connection;
      this.#backoff.reset();
      log.info({ server: connection.getServer() }, "NATS connected");
      this.#onConnected();
      const unanswered = new Promise<Error>((resolve) => {
        this.#leave = resolve;
      });
      const ended = await Promise.race([connection.closed(), untilAborted(signal), unanswered]);
      this.#connection = undefined;
      if (ended === "aborted")
        await withDeadline(clock, "draining NATS", DRAIN_TIMEOUT_MS, undefined, () => connection.drain()).catch(() => undefined);
      else log.info({ error: ended === undefined ? "" : String(ended) }, "NATS disconnected");
    } finally {
      this.#connection = undefined;
      void connection.close();
    }
  }

  #subscribe(connection: NatsConnection, nodeId: string): void {
    const reading = <T>(decode: (bytes: Uint8Array) => T, listen: (message: T) => void) => {
      return (error: Error | null, message: Msg): void => {
        const decoded = error === null ? attempt(() => decode(message.data)) : undefined;
        if (decoded === undefined) this.#dropped.garbled += 1;
        else listen(decoded);
      };
    };
    connection.subscribe(subjects.toNode(nodeId), {
      callback: reading(
        (bytes) => ToNode.decode(bytes),
        (message) => this.#onToNode(message),
      ),
    });
    connection.subscribe(subjects.budget(shardOf(nodeId)), {
      callback: reading(
        (bytes) => Budget.decode(bytes),
        (budget) => this.#onBudget(budget),
      ),
    });
  }

  #publish(subject: string, payload: Uint8Array): boolean {
    const connection = this.#connection;
    if (connection === undefined || this.#unconfirmedBytes + payload.length > MAX_OUTBOUND_BYTES) return false;
    try {
      connection.publish(subject, payload);
    } catch {
      return false;
    }
    this.#unconfirmedBytes += payload.length;
    if (this.#unconfirmedBytes >= ROUND_TRIP_AT_BYTES && !this.#isRoundTripUnderWay) void this.#confirm(connection);
    return true;
  }

  /** A connection whose other end is gone looks open for a quarter of an hour: TCP alone gives up so late. */
  async #probe(connection: NatsConnection): Promise<void> {
    const { clock } = this.#parts;
    this.#lastProbeMs = clock.monotonicMs();
    try {
      await withDeadline(clock, "a round trip to NATS", PROBE_TIMEOUT_MS, undefined, () => connection.flush());
    } catch (error) {
      // Closing waits for an other end that is not there.
      if (this.#connection === connection) this.#leave(error as Error);
    }
  }

  async #confirm(connection: NatsConnection): Promise<void> {
    this.#isRoundTripUnderWay = true;
    try {
      while (this.#unconfirmedBytes >= ROUND_TRIP_AT_BYTES) {
        const confirmedBytes = this.#unconfirmedBytes;
        await connection.flush();
        if (this.#connection !== connection) return;
        this.#unconfirmedBytes -= confirmedBytes;
      }
      this.#isRoundTripUnderWay = false;
    } catch {
      // The connection is ending; the next one starts from nothing.
    }
  }
}

/** One connection that is not made again when it ends; one that came too late for the signal is closed. */
export async function connectToNats(identity: NodeIdentity, signal: AbortSignal): Promise<NatsConnection> {
  const { natsUrls, natsUserJwt, natsCaPem } = identity.credential;
  const connection = await connect({
    name: identity.nodeId,
    servers: natsUrls,
    authenticator: jwtAuthenticator(natsUserJwt, Buffer.from(identity.keys.natsSeed.reveal())),
    tls: natsCaPem === "" ? {} : { ca: natsCaPem },
    timeout: CONNECT_TIMEOUT_MS,
    pingInterval: LIBRARY_PING_MS,
    reconnect: false,
    noEcho: true,
    noAsyncTraces: true,
    ignoreClusterUpdates: true,
  });
  if (signal.aborted) await connection.close();
  signal.throwIfAborted();
  return connection;
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

function untilAborted(signal: AbortSignal): Promise<"aborted"> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("aborted");
    else signal.addEventListener("abort", () => resolve("aborted"), { once: true });
  });
}
