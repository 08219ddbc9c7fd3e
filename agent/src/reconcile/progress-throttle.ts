/** Live progress, to whoever is attached: the newest per step and item, no more than a few each second. */
import type { Clock } from "@drover/lifecycle";
import type { Progress } from "@drover/proto";

const INTERVAL_MS = 500;
const MAX_ITEMS = 64;

export class ProgressThrottle {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Progress>();
  #show: ((progress: Progress) => void) | undefined;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns what detaches */
  attach(show: (progress: Progress) => void): () => void {
    this.#show = show;
    return () => {
      if (this.#show !== show) return;
      this.#show = undefined;
      this.#cancel?.();
      this.#cancel = undefined;
      this.#waiting.clear();
    };
  }

  take(progress: Progress): void {
    if (this.#show === undefined) return;
    const key = `${progress.step}\0${progress.item}`;
    if (this.#waiting.size >= MAX_ITEMS && !this.#waiting.has(key)) return;
    this.#waiting.set(key, progress);
    this.#cancel ??= this.#clock.setTimer(INTERVAL_MS, () => {
      this.#cancel = undefined;
      for (const each of this.#waiting.values()) this.#show?.(each);
      this.#waiting.clear();
    });
  }
}
