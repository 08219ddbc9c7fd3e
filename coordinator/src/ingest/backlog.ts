/** How far the taking of reports is behind: what waits in the stream, at the pace of the last pulls. Pure but for what it remembers. */

/** A pull's share in the pace; the last few count. */
const SHARE_OF_LAST = 0.3;

export class Backlog {
  #waiting = 0;
  /** Milliseconds a message; undefined: no pull yet. */
  #paceMs: number | undefined;
  #atMs = 0;

  /** @param waiting behind the pull; @param tookMs from its arrival until it was in log and fleet; @param atMs monotonic, its end */
  pulled(messages: number, waiting: number, tookMs: number, atMs: number): void {
    this.#waiting = waiting;
    this.#atMs = atMs;
    if (messages === 0) return;
    const paceMs = tookMs / messages;
    this.#paceMs = this.#paceMs === undefined ? paceMs : this.#paceMs + SHARE_OF_LAST * (paceMs - this.#paceMs);
  }

  /** @returns milliseconds until what waits is taken; it grows while nothing is taken, and is 0 when nothing waits */
  lagMs(nowMs: number): number {
    if (this.#waiting === 0) return 0;
    return Math.max(this.#waiting * (this.#paceMs ?? 0), nowMs - this.#atMs);
  }
}
