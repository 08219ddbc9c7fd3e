/**
 * One life of a process in the simulation. Killed as by kill -9: its timers never fire again and nothing it awaits ever settles,
 * so that not a single line of it runs afterwards.
 */
import type { Clock } from "@drover/lifecycle";

export class Life {
  readonly clock: Clock;
  readonly #ended = new AbortController();

  /** @param skewMs how far this machine's wall clock is from the simulation's, at any moment */
  constructor(clock: Clock, skewMs: () => number = () => 0) {
    this.clock = {
      // Whole milliseconds, as every machine's clock gives them.
      now: () => Math.floor(clock.now() + skewMs()),
      monotonicMs: () => clock.monotonicMs(),
      setTimer: (delayMs, fire) =>
        clock.setTimer(delayMs, () => {
          if (this.isAlive) fire();
        }),
    };
  }

  get isAlive(): boolean {
    return !this.#ended.signal.aborted;
  }

  /** Aborted by kill; for what belongs to the world, never for what runs in this life. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  kill(): void {
    this.#ended.abort();
  }

  /** What a process sees of something that goes on outside of it. */
  awaits<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      work.then(
        (value) => {
          if (this.isAlive) resolve(value);
        },
        (error: unknown) => {
          if (this.isAlive) reject(error);
        },
      );
    });
  }

  /** After ms, unless this life has ended by then. */
  later<T>(ms: number, work: () => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.clock.setTimer(ms, () => {
        Promise.resolve()
          .then(work)
          .then(
            (value) => {
              if (this.isAlive) resolve(value);
            },
            (error: unknown) => {
              if (this.isAlive) reject(error);
            },
          );
      });
    });
  }
}
