/** Fields of many values, a column each, by a small dense number: what 100,000 objects would take 20 MB for takes 2 MB. */

import { base32, fromBase32 } from "../packed/base32.ts";

/**
 * name: what the value is called in its map. time: ISO with milliseconds. word: a text, or an object, that many values have the same. A function: a text of
 * its own, in the place of which that gives an equal one that is there already. hex, base32: bytes, written so (in lower case, and in upper case).
 */
export type ColumnKind = "name" | "number" | "time" | "word" | "hex" | "base32" | ((text: string) => string);
/** By field; one level of objects in objects. */
export type ColumnKinds = Readonly<Record<string, ColumnKind | Readonly<Record<string, ColumnKind>>>>;

export type Fields = Readonly<Record<string, unknown>>;

interface Column {
  /** @returns false when the value is not of this kind: then nothing is held */
  set(slot: number, value: unknown, name: string): boolean;
  get(slot: number, name: string): unknown;
}

const shared = new Map<string, unknown>();
const MAX_SHARED = 10_000;
/** Of one column: of more it is not worth having numbers. */
const MAX_WORDS = 5_000;

/** One and the same for all that are equal. */
function share(value: unknown): unknown {
  if (value === undefined) return undefined;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const known = shared.get(text);
  if (known !== undefined && typeof known === typeof value) return known;
  if (shared.size >= MAX_SHARED) shared.clear();
  shared.set(text, value);
  return value;
}

class NumberColumn implements Column {
  /** NaN: there is none. */
  #values = new Float64Array(0);

  set(slot: number, value: unknown): boolean {
    const isNone = value === undefined;
    if (!isNone && (typeof value !== "number" || Number.isNaN(value))) return false;
    if (slot >= this.#values.length) {
      if (isNone) return true;
      const larger = new Float64Array(Math.max(64, Math.ceil(slot * 1.25))).fill(Number.NaN);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[slot] = isNone ? Number.NaN : value;
    return true;
  }

  get(slot: number): unknown {
    const value = this.#values[slot];
    return value === undefined || Number.isNaN(value) ? undefined : value;
  }
}

class TimeColumn implements Column {
  readonly #times = new NumberColumn();

  set(slot: number, value: unknown): boolean {
    if (value === undefined) return this.#times.set(slot, undefined);
    const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
    return !Number.isNaN(ms) && new Date(ms).toISOString() === value && this.#times.set(slot, ms);
  }

  get(slot: number): unknown {
    const ms = this.#times.get(slot) as number | undefined;
    return ms === undefined ? undefined : new Date(ms).toISOString();
  }
}

class ReferenceColumn implements Column {
  readonly #values: unknown[] = [];
  readonly #same: (value: unknown) => unknown;

  /** @param same an equal value that takes no memory of its own */
  constructor(same: (value: unknown) => unknown) {
    this.#same = same;
  }

  set(slot: number, value: unknown): boolean {
    while (this.#values.length < slot) this.#values.push(undefined);
    this.#values[slot] = value === undefined ? undefined : this.#same(value);
    return true;
  }

  get(slot: number): unknown {
    return this.#values[slot];
  }
}

/** As long as there are few words: each slot has the number of its own. */
class WordColumn implements Column {
  /** The first is what is not there. */
  readonly #words: unknown[] = [undefined];
  readonly #numbers = new Map<unknown, number>([[undefined, 0]]);
  #at = new Uint16Array(0);
  /** Where there are too many. */
  #references: ReferenceColumn | undefined;

  set(slot: number, value: unknown): boolean {
    if (this.#references !== undefined) return this.#references.set(slot, value);
    const word = share(value);
    let number = this.#numbers.get(word);
    if (number === undefined) {
      if (this.#words.length >= MAX_WORDS) {
        this.#references = this.#asReferences();
        return this.#references.set(slot, value);
      }
      number = this.#words.push(word) - 1;
      this.#numbers.set(word, number);
    }
    if (slot >= this.#at.length && number === 0) return true;
    if (slot >= this.#at.length) {
      const larger = new Uint16Array(Math.max(64, Math.ceil((slot + 1) * 1.25)));
      larger.set(this.#at);
      this.#at = larger;
    }
    this.#at[slot] = number;
    return true;
  }

  get(slot: number): unknown {
    if (this.#references !== undefined) return this.#references.get(slot);
    return this.#words[this.#at[slot] ?? 0];
  }

  #asReferences(): ReferenceColumn {
    const references = new ReferenceColumn(share);
    for (const [slot, number] of this.#at.entries()) references.set(slot, this.#words[number]);
    this.#words.length = 0;
    this.#numbers.clear();
    this.#at = new Uint16Array(0);
    return references;
  }
}

interface TextOfBytes {
  readonly bytesOf: (text: string) => Uint8Array;
  readonly textOf: (bytes: Buffer) => string;
}

const HEX: TextOfBytes = { bytesOf: (text) => Buffer.from(text, "hex"), textOf: (bytes) => bytes.toString("hex") };
const BASE32: TextOfBytes = { bytesOf: fromBase32, textOf: base32 };
const NONE = 255;

/** Bytes of a few lengths at most, as fingerprints and keys are: each slot has room for the longest. */
class BytesColumn implements Column {
  readonly #coding: TextOfBytes;
  #width = 0;
  /** NONE: there is none. */
  #lengths = new Uint8Array(0);
  #bytes = new Uint8Array(0);

  constructor(coding: TextOfBytes) {
    this.#coding = coding;
  }

  set(slot: number, value: unknown): boolean {
    if (value === undefined) {
      if (slot < this.#lengths.length) this.#lengths[slot] = NONE;
      return true;
    }
    if (typeof value !== "string") return false;
    const bytes = this.#coding.bytesOf(value);
    if (bytes.length >= NONE || this.#coding.textOf(Buffer.from(bytes)) !== value) return false;
    this.#reserve(slot, bytes.length);
    this.#lengths[slot] = bytes.length;
    this.#bytes.set(bytes, slot * this.#width);
    return true;
  }

  get(slot: number): unknown {
    const length = this.#lengths[slot] ?? NONE;
    if (length === NONE) return undefined;
    const start = slot * this.#width;
    return this.#coding.textOf(Buffer.from(this.#bytes.buffer, start, length));
  }

  #reserve(slot: number, length: number): void {
    const slots = slot < this.#lengths.length ? this.#lengths.length : Math.max(64, Math.ceil((slot + 1) * 1.25));
    const width = Math.max(this.#width, length);
    if (slots === this.#lengths.length && width === this.#width) return;
    const bytes = new Uint8Array(slots * width);
    for (let each = 0; each < this.#lengths.length; each += 1) {
      bytes.set(this.#bytes.subarray(each * this.#width, (each + 1) * this.#width), each * width);
    }
    const lengths = new Uint8Array(slots).fill(NONE);
    lengths.set(this.#lengths);
    this.#width = width;
    this.#bytes = bytes;
    this.#lengths = lengths;
  }
}

class NameColumn implements Column {
  set(_slot: number, value: unknown, name: string): boolean {
    return value === name;
  }

  get(_slot: number, name: string): unknown {
    return name;
  }
}

class GroupColumn implements Column {
  readonly #columns: Columns;

  constructor(kinds: ColumnKinds) {
    this.#columns = new Columns(kinds);
  }

  set(slot: number, value: unknown, name: string): boolean {
    if (value === undefined) return true;
    if (typeof value !== "object" || value === null || !this.#columns.areAll(Object.keys(value))) return false;
    return this.#columns.set(slot, value as Fields, name);
  }

  get(slot: number, name: string): unknown {
    const fields: Record<string, unknown> = {};
    for (const field of this.#columns.names) {
      const value = this.#columns.get(slot, field, name);
      if (value !== undefined) fields[field] = value;
    }
    return fields;
  }
}

export class Columns {
  readonly names: readonly string[];
  readonly #columns: ReadonlyMap<string, Column>;

  constructor(kinds: ColumnKinds) {
    this.#columns = new Map(Object.entries(kinds).map(([field, kind]) => [field, columnOf(kind)]));
    this.names = [...this.#columns.keys()];
  }

  has(field: string): boolean {
    return this.#columns.has(field);
  }

  areAll(fields: readonly string[]): boolean {
    return fields.every((field) => this.#columns.has(field));
  }

  /** @returns false when a field is of another kind than its column */
  set(slot: number, fields: Fields, name: string): boolean {
    let isHeld = true;
    for (const [field, column] of this.#columns) isHeld &&= column.set(slot, fields[field], name);
    return isHeld;
  }

  get(slot: number, field: string, name: string): unknown {
    return this.#columns.get(field)!.get(slot, name);
  }
}

function columnOf(kind: ColumnKinds[string]): Column {
  if (typeof kind === "function") return new ReferenceColumn((value) => (typeof value === "string" ? kind(value) : value));
  if (typeof kind !== "string") return new GroupColumn(kind);
  switch (kind) {
    case "name":
      return new NameColumn();
    case "number":
      return new NumberColumn();
    case "time":
      return new TimeColumn();
    case "word":
      return new WordColumn();
    case "hex":
      return new BytesColumn(HEX);
    case "base32":
      return new BytesColumn(BASE32);
  }
}
