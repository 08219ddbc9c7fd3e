/**
 * How many nodes may be on their way at once: woken, and not here yet. Grows with each that arrives while the loop is on time, shrinks when it is late, so
 * that wake-ups go out at the rate at which sessions can be taken, whatever machine this is. Pure but for what it remembers.
 */

export const FIRST_WINDOW = 200;
export const LEAST_WINDOW = 50;
/** Beyond this nothing is gained: what is woken sits in queues. */
export const MOST_WINDOW = 5_000;
/** Late by less: there is room. */
const ON_TIME_MS = 50;
/** Late by more: the loop has more than it can do, and verdicts about nodes are near (LoopLag, 1 s). */
const LATE_MS = 200;
/** Shrunk once for one cause: what was sent before is still arriving. */
const SHRINK_PAUSE_MS = 1_000;
const SHRINK_BY = 0.7;

export class WakeWindow {
  readonly #underWay = new Map<string, number>();
  #size = FIRST_WINDOW;
  #isOnTime = true;
  #shrunkAtMs = -Infinity;

  get size(): number {
    return Math.floor(this.#size);
  }

  get underWayCount(): number {
    return this.#underWay.size;
  }

  get hasRoom(): boolean {
    return this.#underWay.size < this.size;
  }

  /** @param givenUpAtMs monotonic: when it no longer counts as on its way */
  sent(nodeId: string, givenUpAtMs: number): void {
    // In the order of time, though a node may be woken again.
    this.#underWay.delete(nodeId);
    this.#underWay.set(nodeId, givenUpAtMs);
  }

  /** The node is here, or has acted. */
  arrived(nodeId: string): void {
    if (this.#underWay.delete(nodeId) && this.#isOnTime) this.#size = Math.min(MOST_WINDOW, this.#size + 1);
  }

  /** @param lateMs by how much the event loop was late just now */
  look(nowMs: number, lateMs: number): void {
    for (const [nodeId, givenUpAtMs] of this.#underWay) {
      if (givenUpAtMs > nowMs) break;
      // It does not listen. That says nothing about us.
      this.#underWay.delete(nodeId);
    }
    this.#isOnTime = lateMs < ON_TIME_MS;
    if (lateMs < LATE_MS || nowMs - this.#shrunkAtMs < SHRINK_PAUSE_MS) return;
    this.#shrunkAtMs = nowMs;
    this.#size = Math.max(LEAST_WINDOW, this.#size * SHRINK_BY);
  }
}
