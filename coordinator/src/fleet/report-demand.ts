/** How often nodes may report, by how far the coordinator is behind with what they have reported. Pure but for what it remembers. */

const BASE_INTERVAL_MS = 2_000;
/** The interval is doubled so many times at most: two minutes. */
const MAX_LEVEL = 6;
/** Above this demand shrinks; below the second one for two looks it grows again. Between them it stays, so that it does not swing. */
const BEHIND_MS = 5_000;
const CAUGHT_UP_MS = 1_000;
/** What would take as long as this is far too much: demand is quartered at once. */
const FAR_BEHIND_MS = 60_000;
const CALM_LOOKS = 2;

export class ReportDemand {
  #level = 0;
  #calmLooks = 0;

  /** What is routine is told at this interval, milliseconds; results and failures are not held back by it. */
  get intervalMs(): number {
    return BASE_INTERVAL_MS * 2 ** this.#level;
  }

  /** Once a minute. @param lagMs until what waits will have been taken; @returns whether the interval is another now */
  look(lagMs: number): boolean {
    const before = this.#level;
    this.#calmLooks = lagMs < CAUGHT_UP_MS ? this.#calmLooks + 1 : 0;
    if (lagMs > BEHIND_MS) this.#level = Math.min(MAX_LEVEL, before + (lagMs > FAR_BEHIND_MS ? 2 : 1));
    else if (this.#calmLooks >= CALM_LOOKS && before > 0) {
      this.#level = before - 1;
      this.#calmLooks = 0;
    }
    return this.#level !== before;
  }
}
