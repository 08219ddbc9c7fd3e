/** How far the taking of reports is behind: what waits in the stream, at the pace of the last pulls. Pure but for what it remembers. */

/** What each pull leaves of those before it: some ten of them count. */
const REMEMBERED = 0.9;

export class Backlog {
  #waiting = 0;
  #tookMs = 0;
  #messages = 0;
  #atMs = 0;

  /** @param waiting behind the pull; @param tookMs from its arrival until it was in log and fleet; @param atMs monotonic, its end */
  pulled(messages: number, waiting: number, tookMs: number, atMs: number): void {
    // Where something waited, all that was done since the pull before is part of the pace: beats, sessions, decisions.
    const spanMs = this.#waiting > 0 ? atMs - this.#atMs : tookMs;
    this.#waiting = waiting;
    this.#atMs = atMs;
    this.#tookMs = REMEMBERED * this.#tookMs + spanMs;
    this.#messages = REMEMBERED * this.#messages + messages;
  }

  /** @returns milliseconds until what waits is taken; it grows while nothing is taken, and is 0 when nothing waits */
  lagMs(nowMs: number): number {
    if (this.#waiting === 0) return 0;
    return Math.max((this.#waiting * this.#tookMs) / Math.max(1, this.#messages), nowMs - this.#atMs);
  }
}
