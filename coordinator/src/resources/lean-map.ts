/**
 * Stored values of which there is one for each node: what is asked for all the time is held in columns, the rest packed and read when somebody asks. A
 * value looks and copies like any other object, and stays what it was when another takes its place; it is made when it is asked for, and the same one as
 * long as it is asked for now and then.
 */
import { type PackedValue, PackedValues } from "../packed/packed-values.ts";
import type { StoreEntry } from "../store/store.ts";
import { type ColumnKinds, Columns, type Fields } from "./lean-columns.ts";
import type { NodeNumbers } from "./node-map.ts";
import { NamedSlots, NodeSlots, type Slots } from "./slots.ts";

export interface Stored<T> {
  readonly value: T;
  readonly revision: number;
}

/** Values of which there is one for each node. */
export interface EachNode<T> extends ReadonlyMap<string, Stored<T>> {
  /** For who looks at all of them: made for the moment, where get() remembers. */
  look(name: string): T | undefined;
  /** One field of it, without the rest. */
  field<K extends keyof T & string>(name: string, field: K): T[K] | undefined;
}

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
  #source: PackedValue | Fields;
  #isRead = false;
  readonly #bytesOf: string | undefined;

  constructor(object: object, source: PackedValue, bytesOf: string | undefined) {
    super(object);
    this.#source = source;
    this.#bytesOf = bytesOf;
  }

  static field(object: object, name: string): unknown {
    const rest = object as Rest;
    if (!rest.#isRead) {
      const bytes = (rest.#source as PackedValue).read();
      rest.#source = rest.#bytesOf === undefined ? fieldsOf(bytes) : { [rest.#bytesOf]: base64Of(bytes) };
      rest.#isRead = true;
    }
    return (rest.#source as Fields)[name];
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

/** Names of fields in their order, and how those are packed that no column holds. */
interface Shape {
  readonly names: readonly string[];
  /** There are some. */
  readonly hasRest: boolean;
  /** The only one of them, as the bytes of its base64; undefined: they are an object in JSON. */
  readonly bytesOf: string | undefined;
}

/** Nobody has asked for it yet: all of it is packed. */
const UNREAD = 0;
/** Some held field is not of its column's kind: all of it is packed. */
const ODD_NUMBER = 1;
const ODD: Shape = { names: [], hasRest: true, bytesOf: undefined };
const NO_BYTES = new Uint8Array(0);

export class LeanMap<T extends object> implements EachNode<T> {
  readonly #columns: Columns;
  readonly #slots: Slots;
  readonly #packed = new PackedValues();
  /** By their number in #shape. */
  readonly #shapes: Shape[] = [ODD, ODD];
  readonly #shapeNumbers = new Map<string, number>();
  #shape = new Uint16Array(0);
  #revisions = new Float64Array(0);
  #lately = new Map<number, T>();
  #before = new Map<number, T>();

  readonly #bytes: string | undefined;

  /**
   * @param held by field; all others are packed; @param numbers of node ids; left out: names are others
   * @param bytes the field that is packed as the bytes that its base64 says, which are more alike; left out: there is none
   */
  constructor(held: ColumnKinds, numbers?: NodeNumbers, bytes?: string) {
    this.#bytes = bytes;
    this.#columns = new Columns(held);
    this.#slots = numbers === undefined ? new NamedSlots() : new NodeSlots(numbers);
  }

  /** The name as it is held here, or as it was given. */
  sameName(name: string): string {
    const slot = this.#slots.get(name);
    return slot === undefined ? name : this.#slots.name(slot);
  }

  get size(): number {
    return this.#slots.size;
  }

  has(name: string): boolean {
    return this.#slots.get(name) !== undefined;
  }

  get(name: string): Stored<T> | undefined {
    const slot = this.#slots.get(name);
    if (slot === undefined) return undefined;
    let value = this.#lately.get(slot);
    if (value === undefined) this.#lately.set(slot, (value = this.#before.get(slot) ?? this.#made(slot)));
    return { value, revision: this.#revisions[slot]! };
  }

  look(name: string): T | undefined {
    const slot = this.#slots.get(name);
    return slot === undefined ? undefined : this.#value(slot);
  }

  field<K extends keyof T & string>(name: string, field: K): T[K] | undefined {
    const slot = this.#slots.get(name);
    if (slot === undefined) return undefined;
    const shape = this.#shapeOf(slot);
    if (shape === ODD || !this.#columns.has(field)) return this.#value(slot)[field];
    return (shape.names.includes(field) ? this.#columns.get(slot, field, this.#slots.name(slot)) : undefined) as T[K] | undefined;
  }

  /** Of a value that nobody has asked for since the call before the last one, another object is made when it is asked for again. */
  forgetUnused(): void {
    this.#before = this.#lately;
    this.#lately = new Map();
  }

  /** 0: it is not there. */
  revisionOf(name: string): number {
    const slot = this.#slots.get(name);
    return slot === undefined ? 0 : this.#revisions[slot]!;
  }

  take(name: string, entry: StoreEntry): void {
    const slot = this.#slots.add(name);
    this.#reserve(slot);
    this.#forget(slot);
    this.#revisions[slot] = entry.revision;
    this.#shape[slot] = UNREAD;
    this.#packed.set(slot, entry.value);
  }

  delete(name: string): boolean {
    const slot = this.#slots.remove(name);
    if (slot === undefined) return false;
    this.#packed.delete(slot);
    this.#forget(slot);
    this.#columns.set(slot, {}, "");
    return true;
  }

  keys(): MapIterator<string> {
    return this.#slots.keys();
  }

  *values(): MapIterator<Stored<T>> {
    for (const slot of this.#slots.values()) yield this.#stored(slot);
  }

  *entries(): MapIterator<[string, Stored<T>]> {
    for (const slot of this.#slots.values()) yield [this.#slots.name(slot), this.#stored(slot)];
  }

  [Symbol.iterator](): MapIterator<[string, Stored<T>]> {
    return this.entries();
  }

  forEach(tell: (stored: Stored<T>, name: string, map: ReadonlyMap<string, Stored<T>>) => void): void {
    for (const [name, stored] of this) tell(stored, name, this);
  }

  #stored(slot: number): Stored<T> {
    return { value: this.#value(slot), revision: this.#revisions[slot]! };
  }

  #value(slot: number): T {
    return this.#lately.get(slot) ?? this.#before.get(slot) ?? this.#made(slot);
  }

  #forget(slot: number): void {
    this.#lately.delete(slot);
    this.#before.delete(slot);
  }

  #made(slot: number): T {
    const shape = this.#shapeOf(slot);
    if (shape === ODD) return fieldsOf(this.#packed.get(slot)) as T;
    const name = this.#slots.name(slot);
    const value: Record<string, unknown> = {};
    for (const field of shape.names) {
      if (this.#columns.has(field)) value[field] = this.#columns.get(slot, field, name);
      else Object.defineProperty(value, field, accessorOf(field));
    }
    return (shape.hasRest ? new Rest(value, this.#packed.at(slot), shape.bytesOf) : value) as T;
  }

  #shapeOf(slot: number): Shape {
    if (this.#shape[slot] === UNREAD) this.#shape[slot] = this.#hold(slot);
    return this.#shapes[this.#shape[slot]!]!;
  }

  /** What columns hold is not packed any more from then on. @returns the number of its shape */
  #hold(slot: number): number {
    const fields = fieldsOf(this.#packed.get(slot));
    if (!this.#columns.set(slot, fields, this.#slots.name(slot))) return ODD_NUMBER;
    const names = Object.keys(fields);
    const rest = names.filter((name) => !this.#columns.has(name));
    const bytes = rest.length === 1 && rest[0] === this.#bytes ? bytesOf(fields[rest[0]!]) : undefined;
    const key = `${bytes === undefined ? "" : "bytes"}\n${names.join("\n")}`;
    let number = this.#shapeNumbers.get(key);
    if (number === undefined) {
      number = this.#shapes.push({ names, hasRest: rest.length > 0, bytesOf: bytes && rest[0] }) - 1;
      if (number > 0xffff) throw new RangeError("values of more than 65,000 kinds");
      this.#shapeNumbers.set(key, number);
    }
    const text = (): Uint8Array => Buffer.from(JSON.stringify(Object.fromEntries(rest.map((name) => [name, fields[name]]))));
    this.#packed.set(slot, rest.length === 0 ? NO_BYTES : (bytes ?? text()));
    return number;
  }

  #reserve(slot: number): void {
    if (slot < this.#revisions.length) return;
    const size = Math.max(64, Math.ceil(slot * 1.25));
    const revisions = new Float64Array(size);
    revisions.set(this.#revisions);
    this.#revisions = revisions;
    const shape = new Uint16Array(size);
    shape.set(this.#shape);
    this.#shape = shape;
  }
}

function base64Of({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("base64");
}

/** undefined: it is not base64 as we write it. */
function bytesOf(value: unknown): Uint8Array | undefined {
  if (typeof value !== "string") return undefined;
  const bytes = Buffer.from(value, "base64");
  return bytes.toString("base64") === value ? bytes : undefined;
}

function fieldsOf({ buffer, byteOffset, byteLength }: Uint8Array): Fields {
  return JSON.parse(Buffer.from(buffer, byteOffset, byteLength).toString("utf8")) as Fields;
}
