/**
 * Timers of very many agents in one array: each has a number, at most one due time, and costs twelve bytes and no object. Due times are in ticks; what is
 * due is fired in the order of ticks. Driven from outside, so that tests turn it by hand.
 */

const NONE = -1;

export class TimerWheel {
  readonly tickMs: number;
  readonly #slots: Int32Array;
  readonly #mask: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #dueTick: Float64Array;
  readonly #fire: (timer: number) => void;
  #tick: number;
  #armed = 0;

  /**
   * @param timers numbers are 0 to timers - 1; @param fire called with each number that is due; it may arm and cancel any
   * @param slots a power of two; a turn of the wheel is slots x tickMs
   */
  constructor(timers: number, nowMs: number, fire: (timer: number) => void, tickMs = 10, slots = 8_192) {
    this.tickMs = tickMs;
    this.#slots = new Int32Array(slots).fill(NONE);
    this.#mask = slots - 1;
    this.#next = new Int32Array(timers).fill(NONE);
    this.#previous = new Int32Array(timers).fill(NONE);
    this.#dueTick = new Float64Array(timers).fill(NONE);
    this.#fire = fire;
    this.#tick = Math.floor(nowMs / tickMs);
  }

  get armedCount(): number {
    return this.#armed;
  }

  isArmed(timer: number): boolean {
    return this.#dueTick[timer]! >= 0;
  }

  /** In place of the due time it had. Never fires early. */
  arm(timer: number, atMs: number): void {
    this.cancel(timer);
    const tick = Math.max(this.#tick + 1, Math.ceil(atMs / this.tickMs));
    const slot = tick & this.#mask;
    const head = this.#slots[slot]!;
    this.#dueTick[timer] = tick;
    this.#next[timer] = head;
    this.#previous[timer] = NONE;
    if (head !== NONE) this.#previous[head] = timer;
    this.#slots[slot] = timer;
    this.#armed += 1;
  }

  cancel(timer: number): void {
    const tick = this.#dueTick[timer]!;
    if (tick < 0) return;
    const next = this.#next[timer]!;
    const previous = this.#previous[timer]!;
    if (previous === NONE) this.#slots[tick & this.#mask] = next;
    else this.#next[previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#dueTick[timer] = NONE;
    this.#armed -= 1;
  }

  /** Fires all that is due. @returns how late the wheel was, ms */
  advance(nowMs: number): number {
    const target = Math.floor(nowMs / this.tickMs);
    const lateMs = Math.max(0, nowMs - (this.#tick + 1) * this.tickMs);
    while (this.#tick < target) {
      this.#tick += 1;
      this.#fireSlot(this.#tick);
    }
    return lateMs;
  }

  #fireSlot(tick: number): void {
    const slot = tick & this.#mask;
    const due: number[] = [];
    for (let timer = this.#slots[slot]!; timer !== NONE; timer = this.#next[timer]!) if (this.#dueTick[timer]! <= tick) due.push(timer);
    for (const timer of due) {
      // One that fired before it in this tick may have armed or cancelled it.
      if (this.#dueTick[timer] !== tick) continue;
      this.cancel(timer);
      this.#fire(timer);
    }
  }
}
