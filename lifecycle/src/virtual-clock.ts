/** A clock that stands still until it is advanced: for tests and for the simulation. */
import type { Clock } from "./clock.ts";

interface Timer {
  readonly dueMs: number;
  readonly order: number;
  readonly fire: () => void;
  isCancelled: boolean;
}

export class VirtualClock implements Clock {
  #nowMs = 0;
  #order = 0;
  #skewMs: number;
  readonly #timers = new TimerHeap();

  /** @param startMs Unix milliseconds that `now()` starts at */
  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#skewMs = startMs;
  }

  now(): number {
    return this.#nowMs + this.#skewMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, fire: () => void): () => void {
    const timer: Timer = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, fire, isCancelled: false };
    this.#timers.push(timer);
    return () => {
      timer.isCancelled = true;
    };
  }

  /** Wall clock moves, monotonic time does not: a step by NTP or by hand. */
  jump(ms: number): void {
    this.#skewMs += ms;
  }

  /** Fires all that is due within ms, in order, and lets promises settle between timers. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const next = this.#timers.peek();
      if (next === undefined || next.dueMs > endMs) break;
      this.#timers.pop();
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.fire();
      await settle();
    }
    this.#nowMs = endMs;
  }
}

/** Lets promise jobs run to their end; setImmediate comes after all microtasks that are queued now. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

class TimerHeap {
  readonly #heap: Timer[] = [];

  push(timer: Timer): void {
    const heap = this.#heap;
    heap.push(timer);
    let index = heap.length - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(heap[index]!, heap[parent]!)) break;
      swap(heap, index, parent);
      index = parent;
    }
  }

  peek(): Timer | undefined {
    while (this.#heap[0]?.isCancelled === true) this.#take();
    return this.#heap[0];
  }

  pop(): Timer | undefined {
    const first = this.peek();
    if (first !== undefined) this.#take();
    return first;
  }

  #take(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (heap.length === 0 || last === undefined) return;
    heap[0] = last;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const right = left + 1;
      let least = index;
      if (left < heap.length && before(heap[left]!, heap[least]!)) least = left;
      if (right < heap.length && before(heap[right]!, heap[least]!)) least = right;
      if (least === index) return;
      swap(heap, index, least);
      index = least;
    }
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}

function swap(heap: Timer[], a: number, b: number): void {
  const held = heap[a]!;
  heap[a] = heap[b]!;
  heap[b] = held;
}
