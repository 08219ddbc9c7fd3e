/**
 * Stored values of which there is one for each node: what is asked for all the time is held as it is, the rest packed and read when somebody asks. A
 * value looks and copies like any other object; one that was replaced keeps what it was.
 */
import { PackedValues } from "../packed/packed-values.ts";
import type { StoreEntry } from "../store/store.ts";
import { readJson } from "../store/values.ts";

export interface Stored<T> {
  readonly value: T;
  readonly revision: number;
}

export interface LeanMapOptions<T> {
  /** Fields that are held as they are. */
  readonly held: readonly (keyof T & string)[];
  /** Puts parts that many values have the same in the place of a value's own. */
  readonly share?: (value: T) => T;
}

type Fields = Readonly<Record<string, unknown>>;

/** What the constructor is given is what `this` is: so that a plain object can have private fields. */
// oxlint-disable-next-line no-extraneous-class
class Given {
  constructor(object: object) {
    // oxlint-disable-next-line no-constructor-return
    return object;
  }
}

/** Where the fields of a plain object are that it does not hold itself. */
class Rest extends Given {
  readonly #slot: number;
  /** Reads a slot's fields; or the fields, once the slot is another's. */
  #source: Fields | ((slot: number) => Fields);

  constructor(object: object, slot: number, source: (slot: number) => Fields) {
    super(object);
    this.#slot = slot;
    this.#source = source;
  }

  static field(object: object, name: string): unknown {
    const rest = object as Rest;
    return (typeof rest.#source === "function" ? rest.#source(rest.#slot) : rest.#source)[name];
  }

  static detach(object: object): void {
    const rest = object as Rest;
    if (typeof rest.#source === "function") rest.#source = rest.#source(rest.#slot);
  }
}

const accessors = new Map<string, PropertyDescriptor>();

/** Always the same one for a name: objects with the same fields are of one shape for the engine. */
function accessorOf(name: string): PropertyDescriptor {
  let accessor = accessors.get(name);
  if (accessor === undefined) {
    accessor = {
      enumerable: true,
      configurable: true,
      get(this: object): unknown {
        return Rest.field(this, name);
      },
    };
    accessors.set(name, accessor);
  }
  return accessor;
}

export class LeanMap<T extends object> implements ReadonlyMap<string, Stored<T>> {
  readonly #held: ReadonlySet<string>;
  readonly #share: (value: T) => T;
  readonly #slots = new Map<string, number>();
  readonly #packed = new PackedValues();
  readonly #lean: (T | undefined)[] = [];
  readonly #free: number[] = [];
  #revisions = new Float64Array(0);
  /** What was unpacked last: fields of one value are read one after the other. */
  #last: { readonly slot: number; readonly fields: Fields } | undefined;
  readonly #read = (slot: number): Fields => this.#fields(slot);

  constructor({ held, share = (value) => value }: LeanMapOptions<T>) {
    this.#held = new Set(held);
    this.#share = share;
  }

  get size(): number {
    return this.#slots.size;
  }

  has(name: string): boolean {
    return this.#slots.has(name);
  }

  get(name: string): Stored<T> | undefined {
    const slot = this.#slots.get(name);
    return slot === undefined ? undefined : this.#stored(slot);
  }

  /** 0: it is not there. */
  revisionOf(name: string): number {
    const slot = this.#slots.get(name);
    return slot === undefined ? 0 : this.#revisions[slot]!;
  }

  take(name: string, entry: StoreEntry): void {
    let slot = this.#slots.get(name);
    if (slot === undefined) {
      slot = this.#free.pop() ?? this.#lean.length;
      this.#slots.set(name, slot);
    } else this.#release(slot);
    if (slot >= this.#revisions.length) {
      const larger = new Float64Array(Math.max(64, Math.ceil(slot * 1.25)));
      larger.set(this.#revisions);
      this.#revisions = larger;
    }
    this.#revisions[slot] = entry.revision;
    this.#lean[slot] = this.#leanOf(readJson(entry) as T, slot);
    this.#packed.set(slot, entry.value);
    this.#last = undefined;
  }

  delete(name: string): boolean {
    const slot = this.#slots.get(name);
    if (slot === undefined) return false;
    this.#release(slot);
    this.#slots.delete(name);
    this.#packed.delete(slot);
    this.#lean[slot] = undefined;
    this.#free.push(slot);
    return true;
  }

  keys(): MapIterator<string> {
    return this.#slots.keys();
  }

  *values(): MapIterator<Stored<T>> {
    for (const slot of this.#slots.values()) yield this.#stored(slot);
  }

  *entries(): MapIterator<[string, Stored<T>]> {
    for (const [name, slot] of this.#slots) yield [name, this.#stored(slot)];
  }

  [Symbol.iterator](): MapIterator<[string, Stored<T>]> {
    return this.entries();
  }

  forEach(tell: (stored: Stored<T>, name: string, map: ReadonlyMap<string, Stored<T>>) => void): void {
    for (const [name, stored] of this) tell(stored, name, this);
  }

  #stored(slot: number): Stored<T> {
    return { value: this.#lean[slot]!, revision: this.#revisions[slot]! };
  }

  /** The value in the slot is about to go; whoever has it must find what it was. */
  #release(slot: number): void {
    Rest.detach(this.#lean[slot]!);
    this.#last = undefined;
  }

  #fields(slot: number): Fields {
    if (this.#last?.slot !== slot) {
      const { buffer, byteOffset, byteLength } = this.#packed.get(slot);
      this.#last = { slot, fields: JSON.parse(Buffer.from(buffer, byteOffset, byteLength).toString("utf8")) as Fields };
    }
    return this.#last.fields;
  }

  #leanOf(parsed: T, slot: number): T {
    const value = this.#share(parsed) as Fields;
    const lean: Record<string, unknown> = {};
    for (const field in value) {
      if (this.#held.has(field)) lean[field] = value[field];
      else Object.defineProperty(lean, field, accessorOf(field));
    }
    return new Rest(lean, slot, this.#read) as object as T;
  }
}
