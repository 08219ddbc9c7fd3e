/** When sessions are opened: woken, on a slow jittered poll, and again with backoff when that fails. */
import { type Clock, exponentialBackoff, jittered, type Log, type Random } from "@drover/lifecycle";
import type { Wake } from "@drover/proto";
import { ComeAgain } from "../ports.ts";
import { Bell } from "./bell.ts";
import { isFatal } from "./run-step.ts";

export interface ConversationIntervals {
  /** The first session after the start comes within this time. */
  readonly firstSessionMs: number;
  readonly pollMs: number;
  /** Instead of pollMs while no wake-up can arrive. */
  readonly pollWithoutBusMs: number;
  readonly reopenBaseMs: number;
}

export interface ConversationLoopParts {
  readonly hold: (signal: AbortSignal) => Promise<void>;
  readonly knows: (generation: number) => boolean;
  readonly isBusConnected: () => boolean;
  /** Nothing would be found by a poll now; asked when one is due. */
  readonly isPollSpared: () => boolean;
  /** Somebody here waits for what only a session brings. */
  readonly isSessionWanted: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly intervals: ConversationIntervals;
}

/** Whoever waits for a session waits minutes at most: after failures it comes later than at once, but not as late as the next poll may. */
const WANTED_AGAIN_MS = 20_000;
/** After a session that ended without bringing it. */
const WANTED_ANEW_MS = 3_000;
/** What a coordinator may ask at most. */
const LATEST_SLOT_MS = 3_600_000;

export class ConversationLoop {
  readonly #parts: ConversationLoopParts;
  readonly #bell: Bell;
  #openAtMs: number;
  /** The generation that openAtMs is for; undefined: for a poll, or for more than a generation. */
  #openFor: number | undefined;
  /** What openAtMs is for, unless something else comes first, is a poll, and no failed try goes before it. */
  #isPoll = false;
  /** Polls keep to the backoff; a wake-up, which proves that somebody is there, does not. */
  #pollNotBeforeMs = 0;
  /** The slot that the coordinator gave: nothing opens a session before it, as that would be turned away again. */
  #slotAtMs = 0;
  #failed = 0;
  #isOpen = false;

  constructor(parts: ConversationLoopParts) {
    this.#parts = parts;
    this.#bell = new Bell(parts.clock);
    this.#openAtMs = parts.clock.monotonicMs() + parts.random.unit() * parts.intervals.firstSessionMs;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Tries in a row that have failed. */
  get failedTries(): number {
    return this.#failed;
  }

  wake({ generation, delayMs, sessionWanted }: Wake): void {
    if (!sessionWanted && this.#parts.knows(generation)) return;
    this.#openBy(this.#parts.clock.monotonicMs() + delayMs, sessionWanted ? undefined : generation);
  }

  /** A session is wanted now; one that is open or being opened will do. */
  want(): void {
    const { clock, random } = this.#parts;
    if (this.#isOpen) return;
    const nowMs = clock.monotonicMs();
    this.#openBy(Math.max(nowMs, Math.min(this.#pollNotBeforeMs, nowMs + jittered(random, WANTED_AGAIN_MS, 0.3))));
  }

  /** Wake-ups may have been lost, or do not arrive any more. */
  busChanged(): void {
    this.#pollBy(Math.max(this.#nextPollMs(), this.#pollNotBeforeMs));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log, intervals, hold } = this.#parts;
    const backoff = exponentialBackoff(random, { baseMs: intervals.reopenBaseMs, maxMs: intervals.pollMs });
    while (!signal.aborted) {
      const waitMs = this.#openAtMs - clock.monotonicMs();
      if (waitMs > 0) {
        // A lost bus changes the pace while nothing else happens: looked at now and then.
        await this.#bell.wait(Math.min(waitMs, intervals.pollWithoutBusMs), signal);
        if (!this.#parts.isBusConnected()) this.busChanged();
        continue;
      }
      this.#openAtMs = Number.POSITIVE_INFINITY;
      if (this.#isPoll && this.#parts.isBusConnected() && this.#parts.isPollSpared()) {
        this.#pollBy(this.#nextPollMs());
        continue;
      }
      if (this.#openFor !== undefined && this.#parts.knows(this.#openFor)) {
        // It came by the session that was open when this wake-up arrived.
        this.#pollBy(this.#nextPollMs());
        continue;
      }
      this.#isOpen = true;
      // What is wanted of a new session only (a confirmation, I4) is not brought by one that was open before.
      const wasWanted = this.#parts.isSessionWanted();
      try {
        await hold(signal);
        this.#failed = 0;
        backoff.reset();
        if (this.#parts.isSessionWanted()) this.#openBy(clock.monotonicMs() + (wasWanted ? jittered(random, WANTED_ANEW_MS, 0.3) : 0));
        else this.#pollBy(this.#nextPollMs());
      } catch (error) {
        if (signal.aborted) return;
        if (isFatal(error)) throw error;
        this.#failed += 1;
        const longestMs = this.#parts.isSessionWanted() ? jittered(random, WANTED_AGAIN_MS, 0.3) : Infinity;
        // A slot is obeyed as it was given, and a little later, so that those who were given times close together do not meet.
        const slotMs = error instanceof ComeAgain ? Math.min(error.inMs, LATEST_SLOT_MS) * (1 + random.unit() * 0.1) : undefined;
        const delayMs = slotMs ?? Math.min(backoff.nextDelayMs(), longestMs);
        log.warn({ err: error, failed: this.#failed, delayMs: Math.round(delayMs) }, "session with the coordinator failed");
        // A wake-up that came meanwhile does not shorten this: that coordinator is in trouble.
        this.#openAtMs = clock.monotonicMs() + delayMs;
        this.#openFor = undefined;
        this.#isPoll = false;
        this.#pollNotBeforeMs = this.#openAtMs;
        if (slotMs !== undefined) this.#slotAtMs = this.#openAtMs;
      } finally {
        this.#isOpen = false;
      }
    }
  }

  #nextPollMs(): number {
    const { clock, random, intervals, isBusConnected } = this.#parts;
    return clock.monotonicMs() + jittered(random, isBusConnected() ? intervals.pollMs : intervals.pollWithoutBusMs, 0.3);
  }

  #pollBy(byMs: number): void {
    if (Math.max(byMs, this.#slotAtMs) < this.#openAtMs) this.#openBy(byMs, undefined, true);
  }

  #openBy(byMs: number, generation?: number, isPoll = false): void {
    const atMs = Math.max(byMs, this.#slotAtMs);
    const isEarlier = atMs < this.#openAtMs;
    if (isEarlier || !isPoll) this.#isPoll = isPoll;
    if (isEarlier || generation === undefined) this.#openFor = generation;
    if (!isEarlier) return;
    this.#openAtMs = atMs;
    this.#bell.ring();
  }
}
