/** Live progress, to whoever is attached: starts and ends of steps at once, of items the newest, no more than a few each second. */
import type { Clock } from "@drover/lifecycle";
import type { Progress } from "@drover/proto";

const INTERVAL_MS = 500;
const MAX_ITEMS = 256;

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
    const isWholeStep = progress.item === "";
    const key = `${progress.step}\0${progress.item}\0${progress.phase}`;
    if (this.#waiting.size >= MAX_ITEMS && !this.#waiting.has(key) && !isWholeStep) return;
    // Last, not in its old place: an item's end must not be told before what came in between.
    this.#waiting.delete(key);
    this.#waiting.set(key, progress);
    if (isWholeStep) this.#flush();
    else this.#cancel ??= this.#clock.setTimer(INTERVAL_MS, () => this.#flush());
  }

  #flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const told = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const each of told) this.#show?.(each);
  }
}
