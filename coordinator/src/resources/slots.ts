/** Small dense numbers for names: places in columns. */
import { type NodeNumbers, ownText } from "./node-map.ts";

export interface Slots {
  readonly size: number;
  /** undefined: it has none. */
  get(name: string): number | undefined;
  /** The one that it has, or one from now on. */
  add(name: string): number;
  /** @returns the slot, which another may have next; undefined: it had none */
  remove(name: string): number | undefined;
  name(slot: number): string;
  keys(): MapIterator<string>;
  values(): MapIterator<number>;
}

/** In the order in which the names came. */
export class NamedSlots implements Slots {
  readonly #slots = new Map<string, number>();
  readonly #names: string[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#slots.size;
  }

  get(name: string): number | undefined {
    return this.#slots.get(name);
  }

  add(name: string): number {
    const known = this.#slots.get(name);
    if (known !== undefined) return known;
    const slot = this.#free.pop() ?? this.#names.length;
    const own = ownText(name);
    this.#names[slot] = own;
    this.#slots.set(own, slot);
    return slot;
  }

  remove(name: string): number | undefined {
    const slot = this.#slots.get(name);
    if (slot === undefined) return undefined;
    this.#slots.delete(name);
    this.#names[slot] = "";
    this.#free.push(slot);
    return slot;
  }

  name(slot: number): string {
    return this.#names[slot]!;
  }

  keys(): MapIterator<string> {
    return this.#slots.keys();
  }

  values(): MapIterator<number> {
    return this.#slots.values();
  }
}

/** Of nodes: their numbers, and which of them are here. In the order of numbers. */
export class NodeSlots implements Slots {
  readonly #numbers: NodeNumbers;
  #isHere = new Uint8Array(0);
  #size = 0;

  constructor(numbers: NodeNumbers) {
    this.#numbers = numbers;
  }

  get size(): number {
    return this.#size;
  }

  get(name: string): number | undefined {
    const number = this.#numbers.find(name);
    return number !== undefined && this.#isHere[number] === 1 ? number : undefined;
  }

  add(name: string): number {
    const number = this.#numbers.of(name);
    if (number >= this.#isHere.length) {
      const larger = new Uint8Array(Math.max(64, Math.ceil((number + 1) * 1.25)));
      larger.set(this.#isHere);
      this.#isHere = larger;
    }
    if (this.#isHere[number] === 0) this.#size += 1;
    this.#isHere[number] = 1;
    return number;
  }

  remove(name: string): number | undefined {
    const number = this.get(name);
    if (number === undefined) return undefined;
    this.#isHere[number] = 0;
    this.#size -= 1;
    return number;
  }

  name(slot: number): string {
    return this.#numbers.id(slot);
  }

  *keys(): MapIterator<string> {
    for (const slot of this.values()) yield this.#numbers.id(slot);
  }

  *values(): MapIterator<number> {
    // Not of the array at the beginning: it is another when it grows.
    for (let number = 0; number < this.#isHere.length; number += 1) if (this.#isHere[number] === 1) yield number;
  }
}
