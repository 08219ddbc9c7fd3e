/** When the outbox seals, sends and sends again: one interval, doubled when acks stay away, with jitter. */
import { type Clock, jittered, type Random } from "@drover/lifecycle";

export interface PacingActions {
  readonly seal: () => Promise<void>;
  readonly send: () => void;
  readonly resend: () => void;
  /** Without a connection, acks that stay away say nothing about the coordinator. */
  readonly isConnected: () => boolean;
}

const BASE_INTERVAL_MS = 2_000;
const MAX_INTERVAL_MS = 600_000;
const MAX_SLOWDOWN = 6;
const MIN_RESEND_MS = 6_000;
const MAX_RESEND_MS = 300_000;
const RESEND_SOON_MS = 1_000;

export class Pacing {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #actions: PacingActions;
  #minIntervalMs = 0;
  /** The interval is doubled so many times. */
  #slowdown = 0;
  #cancelSeal: (() => void) | undefined;
  #resend: { readonly cancel: () => void; readonly dueMs: number } | undefined;
  #isStopped = false;

  constructor(clock: Clock, random: Random, actions: PacingActions) {
    this.#clock = clock;
    this.#random = random;
    this.#actions = actions;
  }

  get intervalMs(): number {
    return Math.min(MAX_INTERVAL_MS, Math.max(BASE_INTERVAL_MS, this.#minIntervalMs) * 2 ** this.#slowdown);
  }

  setMinInterval(ms: number): void {
    this.#minIntervalMs = ms;
  }

  /** Something routine waits: within one interval it is sealed and sent. */
  wantSeal(): void {
    if (this.#isStopped) return;
    this.#cancelSeal ??= this.#clock.setTimer(this.intervalMs, () => {
      this.#cancelSeal = undefined;
      // A failure of durable state ends the outbox's run.
      this.#actions.seal().then(this.#actions.send, () => undefined);
    });
  }

  /** Something was published: unless acknowledged it is sent again. */
  awaitAck(): void {
    if (this.#resend === undefined) this.#resendIn(Math.min(MAX_RESEND_MS, Math.max(MIN_RESEND_MS, 3 * this.intervalMs)), true);
  }

  acknowledged(isMoreExpected: boolean): void {
    this.#slowdown = Math.max(0, this.#slowdown - 1);
    this.#resend?.cancel();
    this.#resend = undefined;
    if (isMoreExpected) this.awaitAck();
  }

  /** The coordinator has a hole, or the connection is new. */
  wantResendSoon(): void {
    if (this.#resend !== undefined && this.#resend.dueMs <= this.#clock.monotonicMs() + RESEND_SOON_MS) return;
    this.#resend?.cancel();
    this.#resendIn(RESEND_SOON_MS, false);
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelSeal?.();
    this.#resend?.cancel();
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
