/**
 * A pull consumer's messages in batches, in order: what arrived while the handler was busy is the next batch.
 * Knows nothing of recovery: when broker, stream or consumer is gone it throws ConsumerLost, and its caller makes a new one.
 */
import { type Clock, sleep } from "@drover/lifecycle";
import { createInbox, type Msg, type NatsConnection } from "@nats-io/transport-node";

/** The consumer no longer delivers. An expected ending: make it anew. */
export class ConsumerLost extends Error {
  override readonly name = "ConsumerLost";
}

export interface PulledMessage {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly streamSequence: number;
  /** The broker's stamp, Unix milliseconds. */
  readonly brokerMs: number;
}

export interface PullOptions {
  readonly connection: NatsConnection;
  readonly stream: string;
  readonly consumer: string;
  readonly batchMessages: number;
  readonly isAcked: boolean;
  /** After a batch that was not full, so long more is waited for; left out: not at all. */
  readonly restMs?: number;
  /**
   * So often is asked for what has come, and it comes together: a message that comes alone costs both sides a wake-up and a TLS record.
   * Left out: each comes at once.
   */
  readonly everyMs?: number;
  readonly clock: Clock;
  /** @param waiting how many more were there when the last of these was sent to us */
  readonly handle: (messages: readonly PulledMessage[], waiting: number) => Promise<(() => void) | void> | void;
}

/** How long the server holds a request open; a lost consumer shows after that and the grace at the latest. */
const REQUEST_EXPIRES_MS = 4_000;
const REQUEST_GRACE_MS = 2_000;
const NANOS_PER_MS = 1_000_000;

/** Statuses that end a request and nothing else: no messages, expired. */
const REQUEST_OVER: ReadonlySet<number> = new Set([404, 408]);
const IDLE_HEARTBEAT = 100;

/** Returns when the signal aborts. @throws ConsumerLost; whatever the handler throws */
export async function pullBatches(options: PullOptions, signal: AbortSignal): Promise<void> {
  const { connection, batchMessages, restMs = 0, everyMs, clock } = options;
  const arrived: { readonly message: PulledMessage; readonly reply: string }[] = [];
  let outstanding = 0;
  let lost: ConsumerLost | undefined;
  let requestedAtMs = 0;
  /** The last request found fewer than it asked for. */
  let isDry = false;
  const nobodyWaits = (): void => {};
  let wake = nobodyWaits;
  const inbox = createInbox();
  const subscription = connection.subscribe(inbox, {
    callback(error, message) {
      if (error !== null) lost = new ConsumerLost(error.message);
      else if (message.reply?.startsWith("$JS.ACK.")) {
        outstanding -= 1;
        arrived.push({ message: read(message, message.reply), reply: message.reply });
      } else if (REQUEST_OVER.has(message.headers?.code ?? 0)) {
        outstanding = 0;
        isDry = true;
      } else if (message.headers?.code !== IDLE_HEARTBEAT) {
        lost = new ConsumerLost(`${message.headers?.code ?? "?"} ${message.headers?.description ?? ""}`);
      }
      wake();
    },
  });
  const request = (): void => {
    outstanding = batchMessages;
    requestedAtMs = clock.monotonicMs();
    isDry = false;
    const until = everyMs === undefined ? { expires: REQUEST_EXPIRES_MS * NANOS_PER_MS } : { no_wait: true };
    const body = JSON.stringify({ batch: batchMessages, ...until });
    connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${options.stream}.${options.consumer}`, body, { reply: inbox });
  };
  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort);
  try {
    while (!signal.aborted) {
      const pauseMs = everyMs !== undefined && isDry ? requestedAtMs + everyMs - clock.monotonicMs() : 0;
      if (outstanding <= 0 && arrived.length < batchMessages && lost === undefined && pauseMs <= 0) request();
      const batch = arrived.splice(0, batchMessages);
      const last = batch.at(-1);
      if (last !== undefined) {
        const waiting = waitingBehind(last.reply);
        const afterAck = await options.handle(
          batch.map(({ message }) => message),
          waiting,
        );
        if (options.isAcked && !connection.isClosed()) connection.publish(last.reply, "+ACK");
        afterAck?.();
        if (restMs > 0 && batch.length < batchMessages) await sleep(clock, restMs, signal).catch(() => undefined);
        continue;
      }
      if (lost !== undefined) throw lost;
      const waitMs = outstanding > 0 ? requestedAtMs + REQUEST_EXPIRES_MS + REQUEST_GRACE_MS - clock.monotonicMs() : Math.max(1, pauseMs);
      if (waitMs <= 0) throw new ConsumerLost("the broker did not answer a request");
      await new Promise<void>((resolve) => {
        const cancel = clock.setTimer(waitMs, resolve);
        // Once: of the messages that come together each calls it.
        wake = () => {
          wake = nobodyWaits;
          cancel();
          resolve();
        };
      });
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    wake = nobodyWaits;
    if (!connection.isClosed()) subscription.unsubscribe();
  }
}

function read(message: Msg, reply: string): PulledMessage {
  const { streamSequence, brokerMs } = readReply(reply);
  return { subject: message.subject, payload: message.data, streamSequence, brokerMs };
}

const DOT = 46;
const ZERO = 48;
/** Dots up to and with the one before the stream's sequence, without and with a domain. */
const DOTS_BEFORE_SEQUENCE = 5;
const DOTS_OF_DOMAIN = 2;
const DOTS_WITHOUT_DOMAIN = 8;
const DOTS_BEFORE_PENDING = 8;
const NANO_DIGITS = 6;

/**
 * The reply subject carries the metadata: $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.delivery.nanoseconds.pending[.token].
 * Read where it stands: it is done for each message.
 */
export function readReply(reply: string): { readonly streamSequence: number; readonly brokerMs: number } {
  let dots = 0;
  for (let at = 0; at < reply.length; at += 1) if (reply.charCodeAt(at) === DOT) dots += 1;
  const wanted = DOTS_BEFORE_SEQUENCE + (dots > DOTS_WITHOUT_DOMAIN ? DOTS_OF_DOMAIN : 0);
  let start = 0;
  for (let passed = 0; passed < wanted; start += 1) if (reply.charCodeAt(start) === DOT) passed += 1;
  const sequenceEnd = reply.indexOf(".", start);
  const stampStart = reply.indexOf(".", sequenceEnd + 1) + 1;
  const stampEnd = reply.indexOf(".", stampStart);
  return { streamSequence: digits(reply, start, sequenceEnd), brokerMs: digits(reply, stampStart, stampEnd - NANO_DIGITS) };
}

/** How many messages the consumer had still to deliver, by the reply subject of one. */
export function waitingBehind(reply: string): number {
  const tokens = reply.split(".");
  return Number(tokens[tokens.length > DOTS_WITHOUT_DOMAIN + 1 ? DOTS_BEFORE_PENDING + DOTS_OF_DOMAIN : DOTS_BEFORE_PENDING]);
}

function digits(text: string, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at += 1) value = value * 10 + text.charCodeAt(at) - ZERO;
  return value;
}
