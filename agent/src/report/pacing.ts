/**
 * When the outbox seals, sends and sends again: one interval, doubled when acks stay away, with jitter. What is routine is not sealed while something that was
 * sent is not acknowledged: a coordinator that is slow has one batch of each node to take at most, and what changes meanwhile is told together.
 */
import { type Clock, jittered, type Random } from "@drover/lifecycle";

export interface PacingActions {
  readonly seal: () => Promise<void>;
  readonly send: () => void;
  readonly resend: () => void;
  /** Without a connection, acks that stay away say nothing about the coordinator. */
  readonly isConnected: () => boolean;
  /** Something was published, and its ack has not come. */
  readonly isAckAwaited: () => boolean;
}

const BASE_INTERVAL_MS = 2_000;
const MAX_INTERVAL_MS = 600_000;
const MAX_SLOWDOWN = 6;
const MIN_RESEND_MS = 6_000;
const MAX_RESEND_MS = 300_000;
const RESEND_SOON_MS = 1_000;
/** An ack that took so long may take twice as long, before what it is for is sent again. */
const RESEND_AFTER_ACKS = 2;
const MAX_ACK_MS = 60_000;
/** Then it is made durable at least. */
const HELD_AT_MOST_MS = 60_000;

export class Pacing {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #actions: PacingActions;
  #minIntervalMs = 0;
  /** The interval is doubled so many times. */
  #slowdown = 0;
  #cancelSeal: (() => void) | undefined;
  #isSealHeld = false;
  /** Monotonic: since when an ack is awaited; and how long the last one took. */
  #awaitedSinceMs: number | undefined;
  #lastAckMs = 0;
  #resend: { readonly cancel: () => void; readonly dueMs: number } | undefined;
  #isStopped = false;

  constructor(clock: Clock, random: Random, actions: PacingActions) {
    this.#clock = clock;
    this.#random = random;
    this.#actions = actions;
  }

  get intervalMs(): number {
    // Not one times the other: what makes acks late is what the coordinator lengthens its interval for.
    return Math.min(MAX_INTERVAL_MS, Math.max(BASE_INTERVAL_MS * 2 ** this.#slowdown, this.#minIntervalMs));
  }

  setMinInterval(ms: number): void {
    this.#minIntervalMs = ms;
  }

  /** Something routine waits: it is sealed and sent within one interval, or when what was sent before is acknowledged. */
  wantSeal(): void {
    if (this.#isStopped) return;
    this.#cancelSeal ??= this.#clock.setTimer(this.intervalMs, () => {
      if (!this.#actions.isConnected() || !this.#actions.isAckAwaited()) return this.#sealNow();
      this.#isSealHeld = true;
      this.#cancelSeal = this.#clock.setTimer(HELD_AT_MOST_MS, () => this.#sealNow());
    });
  }

  /** Something was published: unless acknowledged it is sent again. */
  awaitAck(): void {
    if (this.#actions.isConnected()) this.#awaitedSinceMs ??= this.#clock.monotonicMs();
    if (this.#resend !== undefined) return;
    const longMs = Math.max(MIN_RESEND_MS, 3 * this.intervalMs, RESEND_AFTER_ACKS * this.#lastAckMs);
    this.#resendIn(Math.min(MAX_RESEND_MS, longMs), true);
  }

  acknowledged(isMoreExpected: boolean): void {
    const nowMs = this.#clock.monotonicMs();
    this.#lastAckMs = Math.min(MAX_ACK_MS, nowMs - (this.#awaitedSinceMs ?? nowMs));
    this.#awaitedSinceMs = undefined;
    this.#slowdown = Math.max(0, this.#slowdown - 1);
    this.#resend?.cancel();
    this.#resend = undefined;
    if (isMoreExpected) this.awaitAck();
    else if (this.#isSealHeld) this.#sealNow();
  }

  /** The coordinator has a hole, or the connection is new. */
  wantResendSoon(): void {
    if (this.#resend !== undefined && this.#resend.dueMs <= this.#clock.monotonicMs() + RESEND_SOON_MS) return;
    this.#resend?.cancel();
    this.#resendIn(RESEND_SOON_MS, false);
  }

  stop(): void {
    this.#isStopped = true;
    // A late ack seals nothing any more.
    this.#isSealHeld = false;
    this.#cancelSeal?.();
    this.#resend?.cancel();
  }

  #sealNow(): void {
    this.#cancelSeal?.();
    this.#cancelSeal = undefined;
    this.#isSealHeld = false;
    // A failure of durable state ends the outbox's run.
    this.#actions.seal().then(this.#actions.send, () => undefined);
  }

  #resendIn(ms: number, isLate: boolean): void {
    if (this.#isStopped) return;
    const delayMs = jittered(this.#random, ms, 0.3);
    const cancel = this.#clock.setTimer(delayMs, () => {
      this.#resend = undefined;
      if (isLate && this.#actions.isConnected()) this.#slowdown = Math.min(MAX_SLOWDOWN, this.#slowdown + 1);
      this.#actions.resend();
    });
    this.#resend = { cancel, dueMs: this.#clock.monotonicMs() + delayMs };
  }
}
