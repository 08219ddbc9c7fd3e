/** A bounded queue between one who pushes and one who iterates; whoever is too slow is cut off rather than waited for. */

export class Channel<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  readonly #capacity: number;
  #wake: (() => void) | undefined;
  #isClosed = false;
  #failure: unknown;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @returns false when it is closed or full; a full one is closed with ChannelOverflow */
  push(item: T): boolean {
    if (this.#isClosed) return false;
    if (this.#items.length >= this.#capacity) {
      this.fail(new ChannelOverflow(`more than ${this.#capacity} items waited`));
      return false;
    }
    this.#items.push(item);
    this.#wake?.();
    return true;
  }

  /** What was pushed is still read; then the iteration ends. */
  close(): void {
    this.#isClosed = true;
    this.#wake?.();
  }

  /** What was pushed is still read; then the iteration throws. */
  fail(error: unknown): void {
    if (!this.#isClosed) this.#failure = error;
    this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    try {
      for (;;) {
        const item = this.#items.shift();
        if (item !== undefined) {
          yield item;
        } else if (this.#isClosed) {
          if (this.#failure !== undefined) throw this.#failure;
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          this.#wake = undefined;
        }
      }
    } finally {
      this.#isClosed = true;
    }
  }
}

export class ChannelOverflow extends Error {
  override readonly name = "ChannelOverflow";
}
