/** When those who are turned away may come again: each has a time of its own, at the rate at which they can be taken. Pure but for what it remembers. */
import type { Clock } from "@drover/lifecycle";

const SOONEST_MS = 2_000;
/** Later than this nobody is sent: by then everything is different. */
const LATEST_MS = 10 * 60_000;

export class Slots {
  readonly #clock: Clock;
  readonly #apartMs: number;
  #lastAtMs = -Infinity;

  /** @param perSecond how many can be taken beside what comes anyhow */
  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#apartMs = 1_000 / perSecond;
  }

  /** @returns milliseconds from now */
  next(): number {
    const nowMs = this.#clock.monotonicMs();
    const soonestMs = nowMs + SOONEST_MS;
    const atMs = Math.max(soonestMs, this.#lastAtMs + this.#apartMs);
    this.#lastAtMs = atMs - nowMs > LATEST_MS ? soonestMs : atMs;
    return Math.ceil(this.#lastAtMs - nowMs);
  }
}
