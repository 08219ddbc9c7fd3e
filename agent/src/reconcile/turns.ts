/** Plans and rungs change the machine one after the other, never both. */
import type { Clock } from "@drover/lifecycle";

export class Turns {
  readonly #clock: Clock;
  #isTaken = false;
  readonly #waiting = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Waits as long as it takes. @returns undefined when the signal aborted before it was this one's turn */
  async hold<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | undefined> {
    return (await this.#take(undefined, signal)) ? this.#working(work) : undefined;
  }

  /** @returns undefined when it was not this one's turn in time, or the signal aborted */
  async holdWithin<T>(waitMs: number, signal: AbortSignal, work: () => Promise<T>): Promise<T | undefined> {
    return (await this.#take(waitMs, signal)) ? this.#working(work) : undefined;
  }

  async #working<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } finally {
      this.#isTaken = false;
      for (const wake of this.#waiting) wake();
    }
  }

  async #take(waitMs: number | undefined, signal: AbortSignal): Promise<boolean> {
    const untilMs = waitMs === undefined ? Infinity : this.#clock.monotonicMs() + waitMs;
    while (this.#isTaken) {
      const leftMs = untilMs - this.#clock.monotonicMs();
      if (signal.aborted || leftMs <= 0) return false;
      await this.#free(leftMs, signal);
    }
    if (signal.aborted) return false;
    this.#isTaken = true;
    return true;
  }

  #free(leftMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    const cancel = leftMs === Infinity ? () => undefined : this.#clock.setTimer(leftMs, wake);
    this.#waiting.add(wake);
    signal.addEventListener("abort", wake, { once: true });
    return promise.finally(() => {
      cancel();
      this.#waiting.delete(wake);
      signal.removeEventListener("abort", wake);
    });
  }
}
