/**
 * Values of which there is one for each node, in an array: ids are numbered once for all such maps, where each Map of 100,000 ids would take 4 MB of its own.
 * Numbers are not given back: a fleet whose machines come and go costs some hundred bytes for each that ever was, until the coordinator is started again.
 */

export class NodeNumbers {
  readonly #numbers = new Map<string, number>();
  readonly #ids: string[] = [];

  /** undefined: the id has none yet. */
  find(nodeId: string): number | undefined {
    return this.#numbers.get(nodeId);
  }

  /** Dense, from 0. */
  of(nodeId: string): number {
    let number = this.#numbers.get(nodeId);
    if (number === undefined) {
      const own = ownText(nodeId);
      number = this.#ids.push(own) - 1;
      this.#numbers.set(own, number);
    }
    return number;
  }

  id(number: number): string {
    return this.#ids[number]!;
  }

  /** The id as it is held here, or as it was given. */
  same(nodeId: string): string {
    const number = this.#numbers.get(nodeId);
    return number === undefined ? nodeId : this.#ids[number]!;
  }
}

/** Keys are node ids, in the order in which they were numbered. No value is undefined. */
export class NodeMap<V> {
  readonly #numbers: NodeNumbers;
  #values: (V | undefined)[] = [];
  #size = 0;

  constructor(numbers: NodeNumbers) {
    this.#numbers = numbers;
  }

  get size(): number {
    return this.#size;
  }

  get(nodeId: string): V | undefined {
    const number = this.#numbers.find(nodeId);
    return number === undefined ? undefined : this.#values[number];
  }

  has(nodeId: string): boolean {
    return this.get(nodeId) !== undefined;
  }

  set(nodeId: string, value: V): void {
    const number = this.#numbers.of(nodeId);
    // Without holes, or the engine would keep it as a dictionary.
    while (this.#values.length < number) this.#values.push(undefined);
    if (this.#values[number] === undefined) this.#size += 1;
    this.#values[number] = value;
  }

  delete(nodeId: string): boolean {
    const number = this.#numbers.find(nodeId);
    if (number === undefined || this.#values[number] === undefined) return false;
    this.#values[number] = undefined;
    this.#size -= 1;
    return true;
  }

  clear(): void {
    this.#values = [];
    this.#size = 0;
  }

  *keys(): MapIterator<string> {
    for (const [nodeId] of this) yield nodeId;
  }

  *values(): MapIterator<V> {
    for (const value of this.#values) if (value !== undefined) yield value;
  }

  *[Symbol.iterator](): MapIterator<[string, V]> {
    for (const [number, value] of this.#values.entries()) if (value !== undefined) yield [this.#numbers.id(number), value];
  }
}

/** A text cut out of a longer one keeps that in memory. */
export function ownText(text: string): string {
  return Buffer.from(text, "utf8").toString("utf8");
}
