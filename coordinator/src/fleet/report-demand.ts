/** How often nodes may report, by how far the coordinator is behind with what they have reported. Pure but for what it remembers. */

const LEAST_MS = 2_000;
const MOST_MS = 120_000;
/** Above this nodes report less often; below the second one more often again. Between them it stays, so that it does not swing. */
const BEHIND_MS = 2_000;
const CAUGHT_UP_MS = 500;
/** Something is to wait always, or the coordinator would be idle now and then while there is too much to tell. */
const WANTED_LAG_MS = 1_000;
const LONGER_AT_LEAST = 1.25;
const SHORTER = 0.75;

export class ReportDemand {
  #intervalMs = LEAST_MS;
  /** Monotonic: until then nodes may still wait for the interval of before. */
  #settledMs = -Infinity;

  /** What is routine is told at this interval, milliseconds; results and failures are not held back by it. */
  get intervalMs(): number {
    return this.#intervalMs;
  }

  /**
   * A node has one routine batch on its way at most, and seals the next one an interval after its ack at the earliest. So when there is too much to tell, interval
   * and lag together are what a batch of every node takes: what the lag is to lose, the interval is to gain.
   * @param lagMs until what waits will have been taken; @param nowMs monotonic; @returns whether the interval is another now
   */
  look(lagMs: number, nowMs: number): boolean {
    const before = this.#intervalMs;
    if (lagMs > BEHIND_MS && nowMs >= this.#settledMs) {
      this.#intervalMs = Math.round(Math.min(MOST_MS, Math.max(LONGER_AT_LEAST * before, before + lagMs - WANTED_LAG_MS)));
      this.#settledMs = nowMs + before + lagMs;
    } else if (lagMs < CAUGHT_UP_MS) this.#intervalMs = Math.round(Math.max(LEAST_MS, SHORTER * before));
    return this.#intervalMs !== before;
  }
}
