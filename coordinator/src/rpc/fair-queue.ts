/** Who waits for a handshake, by where it comes from: each address has its turn, so that a flood from one delays itself. Known operators come first. Pure. */

export class FairQueue<T> {
  readonly #first: T[] = [];
  readonly #byAddress = new Map<string, T[]>();

  push(address: string, item: T, comesFirst: boolean): void {
    if (comesFirst) {
      this.#first.push(item);
      return;
    }
    const queue = this.#byAddress.get(address);
    if (queue === undefined) this.#byAddress.set(address, [item]);
    else queue.push(item);
  }

  next(): T | undefined {
    const first = this.#first.shift();
    if (first !== undefined) return first;
    for (const [address, queue] of this.#byAddress) {
      const item = queue.shift();
      // To the end of the round.
      this.#byAddress.delete(address);
      if (queue.length > 0) this.#byAddress.set(address, queue);
      return item;
    }
    return undefined;
  }
}
