/** One direction of a connection: what is pushed arrives later, in order; the end, too. */
import type { Life } from "./life.ts";

type Item<T> =
  | { readonly type: "item"; readonly value: T }
  | { readonly type: "closed" }
  | { readonly type: "failed"; readonly error: unknown };

export class Pipe<T> implements AsyncIterable<T> {
  readonly #reader: Life;
  readonly #latencyMs: () => number;
  readonly #arrived: Item<T>[] = [];
  #wake: (() => void) | undefined;
  #lastAtMs = 0;
  #isLost = false;

  /** @param reader whose clock and life the arrivals are in */
  constructor(reader: Life, latencyMs: () => number) {
    this.#reader = reader;
    this.#latencyMs = latencyMs;
  }

  push(value: T): void {
    this.#send({ type: "item", value });
  }

  close(): void {
    this.#send({ type: "closed" });
  }

  /** The writer ends the connection with an error. */
  refuse(error: unknown): void {
    this.#send({ type: "failed", error });
  }

  /** The reader's own side knows at once. */
  fail(error: unknown): void {
    this.#arrive({ type: "failed", error });
  }

  /** What is under way and what is pushed from now on never arrives. */
  lose(): void {
    this.#isLost = true;
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return { next: () => this.#reader.awaits(this.#next()), return: async () => ({ done: true, value: undefined }) };
  }

  async #next(): Promise<IteratorResult<T>> {
    while (this.#arrived.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const item = this.#arrived[0]!;
    if (item.type === "item") {
      this.#arrived.shift();
      return { done: false, value: item.value };
    }
    if (item.type === "failed") throw item.error;
    return { done: true, value: undefined };
  }

  #send(item: Item<T>): void {
    if (this.#isLost) return;
    const { clock } = this.#reader;
    const nowMs = clock.monotonicMs();
    this.#lastAtMs = Math.max(this.#lastAtMs, nowMs + this.#latencyMs());
    clock.setTimer(this.#lastAtMs - nowMs, () => {
      if (!this.#isLost) this.#arrive(item);
    });
  }

  #arrive(item: Item<T>): void {
    this.#arrived.push(item);
    this.#wake?.();
  }
}
