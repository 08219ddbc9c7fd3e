/** Says yes to the first of a kind, and again only after a pause: a flood of refusals is one audit record, not a thousand. */

/** Keys beyond this are forgotten, oldest first: a flood of different keys does not grow us. */
const MAX_KEYS = 10_000;

export class OnceInAWhile {
  readonly #pauseMs: number;
  readonly #saidAtMs = new Map<string, number>();

  constructor(pauseMs: number) {
    this.#pauseMs = pauseMs;
  }

  /** @param nowMs monotonic */
  may(key: string, nowMs: number): boolean {
    const before = this.#saidAtMs.get(key);
    if (before !== undefined && nowMs - before < this.#pauseMs) return false;
    this.#saidAtMs.delete(key);
    this.#saidAtMs.set(key, nowMs);
    if (this.#saidAtMs.size > MAX_KEYS) this.#saidAtMs.delete(this.#saidAtMs.keys().next().value!);
    return true;
  }
}
