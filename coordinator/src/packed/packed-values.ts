/**
 * Many byte strings that are much alike, by small dense numbers, in little memory: each is kept as what it does not share with a template, and a template
 * goes when its last value does. Reading one costs about a microsecond for each kilobyte.
 */
import { MAX_TEMPLATE_BYTES, Template, worstCase } from "./template.ts";

const CHUNK_BYTES = 1 << 20;
const MAX_TEMPLATES = 64;
/** Templates that a value is tried with before it may become one. */
const TRIED = 4;
/** Kept as it is, in a chunk like all others. */
const PLAIN = 255;
const NONE = 254;

/** All of it, for a file. Bytes of chunks are never written to again. */
export interface PackedColumns {
  readonly shapes: readonly { readonly number: number; readonly bytes: Uint8Array }[];
  readonly at: Uint32Array;
  readonly length: Uint32Array;
  readonly raw: Uint32Array;
  readonly shape: Uint8Array;
  readonly chunks: readonly Uint8Array[];
}

export interface PackedValue {
  read(): Uint8Array;
}

class Located implements PackedValue {
  readonly #chunk: Uint8Array;
  readonly #offset: number;
  readonly #length: number;
  readonly #raw: number;
  readonly #template: Template | undefined;

  constructor(chunk: Uint8Array, offset: number, length: number, raw: number, template: Template | undefined) {
    this.#chunk = chunk;
    this.#offset = offset;
    this.#length = length;
    this.#raw = raw;
    this.#template = template;
  }

  read(): Uint8Array {
    const packed = this.#chunk.subarray(this.#offset, this.#offset + this.#length);
    if (this.#template === undefined) return packed;
    const unpacked = new Uint8Array(this.#raw);
    this.#template.decode(packed, unpacked);
    return unpacked;
  }
}

interface Shape {
  readonly template: Template;
  users: number;
}

export class PackedValues {
  readonly #shapes: (Shape | undefined)[] = [];
  /** Numbers of shapes, the last used first. */
  #recent: number[] = [];
  #chunks: Uint8Array[] = [];
  #used = 0;
  /** In the last chunk. */
  #end = 0;
  #packedLength = 0;
  #live = 0;
  #count = 0;
  #scratch = new Uint8Array(16_384);
  #unpacked = new Uint8Array(16_384);
  #at = new Uint32Array(0);
  #length = new Uint32Array(0);
  #raw = new Uint32Array(0);
  #shape = new Uint8Array(0);

  /** @param columns taken over, chunks as they are; left out: empty */
  constructor(columns?: PackedColumns) {
    if (columns === undefined) return;
    for (const { number, bytes } of columns.shapes) {
      this.#shapes[number] = { template: new Template(bytes.slice()), users: 0 };
      this.#recent.push(number);
    }
    this.#at = columns.at.slice();
    this.#length = columns.length.slice();
    this.#raw = columns.raw.slice();
    this.#shape = columns.shape.slice();
    this.#chunks = [...columns.chunks];
    this.#end = this.#chunks.at(-1)?.length ?? 0;
    this.#used = this.bytes;
    for (const [slot, number] of this.#shape.entries()) {
      if (number === NONE) continue;
      this.#count += 1;
      this.#live += this.#length[slot]!;
      if (number !== PLAIN) this.#shapes[number]!.users += 1;
    }
  }

  columns(): PackedColumns {
    const last = this.#chunks.length - 1;
    return {
      shapes: this.#shapes.flatMap((shape, number) => (shape === undefined ? [] : [{ number, bytes: shape.template.bytes }])),
      at: this.#at.slice(),
      length: this.#length.slice(),
      raw: this.#raw.slice(),
      shape: this.#shape.slice(),
      chunks: this.#chunks.map((chunk, index) => (index === last ? chunk.subarray(0, this.#end) : chunk)),
    };
  }

  /** Bytes that the values take now, what was replaced and lies there still included. */
  get bytes(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  has(slot: number): boolean {
    return slot < this.#shape.length && this.#shape[slot] !== NONE;
  }

  /** The value's bytes, to be read before the next call of anything here. @throws RangeError when there is none */
  get(slot: number): Uint8Array {
    if (!this.has(slot)) throw new RangeError(`there is no value ${slot}`);
    const packed = this.#packed(slot);
    const shape = this.#shape[slot]!;
    if (shape === PLAIN) return packed;
    const raw = this.#raw[slot]!;
    if (this.#unpacked.length < raw) this.#unpacked = new Uint8Array(raw * 2);
    const length = this.#shapes[shape]!.template.decode(packed, this.#unpacked);
    return this.#unpacked.subarray(0, length);
  }

  /** The same, to be read at any time, also when the slot has another value or none. */
  at(slot: number): PackedValue {
    if (!this.has(slot)) throw new RangeError(`there is no value ${slot}`);
    const at = this.#at[slot]!;
    const shape = this.#shape[slot]!;
    const template = shape === PLAIN ? undefined : this.#shapes[shape]!.template;
    return new Located(this.#chunks[Math.floor(at / CHUNK_BYTES)]!, at % CHUNK_BYTES, this.#length[slot]!, this.#raw[slot]!, template);
  }

  set(slot: number, value: Uint8Array): void {
    this.delete(slot);
    this.#reserve(slot + 1);
    const shape = this.#pack(value);
    const packed = shape === PLAIN ? value : this.#scratch.subarray(0, this.#packedLength);
    this.#at[slot] = this.#append(packed);
    this.#length[slot] = packed.length;
    this.#raw[slot] = value.length;
    this.#shape[slot] = shape;
    if (shape !== PLAIN) this.#shapes[shape]!.users += 1;
    this.#live += packed.length;
    this.#count += 1;
    if (this.#used > CHUNK_BYTES && this.#used > 2 * this.#live) this.#compact();
  }

  delete(slot: number): void {
    if (!this.has(slot)) return;
    const number = this.#shape[slot]!;
    this.#shape[slot] = NONE;
    this.#live -= this.#length[slot]!;
    this.#count -= 1;
    if (number === PLAIN) return;
    const shape = this.#shapes[number]!;
    shape.users -= 1;
    if (shape.users > 0) return;
    this.#shapes[number] = undefined;
    this.#recent = this.#recent.filter((other) => other !== number);
  }

  /** Leaves the packed value in #scratch. @returns the shape it was packed with */
  #pack(value: Uint8Array): number {
    const room = worstCase(value.length);
    if (this.#scratch.length < room) this.#scratch = new Uint8Array(room * 2);
    const enough = Math.max(24, 1.25 * this.#meanLength(), value.length / 64);
    let best = PLAIN;
    let bestLength = value.length;
    let last = PLAIN;
    for (const number of this.#recent.slice(0, TRIED)) {
      const length = this.#shapes[number]!.template.encode(value, this.#scratch);
      last = number;
      this.#packedLength = length;
      if (length >= bestLength) continue;
      best = number;
      bestLength = length;
      if (length <= enough) break;
    }
    if (bestLength > 2 * enough && value.length <= MAX_TEMPLATE_BYTES) {
      const number = this.#freeShape();
      if (number !== undefined) {
        this.#shapes[number] = { template: new Template(value.slice()), users: 0 };
        best = number;
      }
    }
    if (best === PLAIN) return PLAIN;
    if (best !== last) this.#packedLength = this.#shapes[best]!.template.encode(value, this.#scratch);
    if (this.#recent[0] !== best) this.#recent = [best, ...this.#recent.filter((number) => number !== best)];
    return best;
  }

  #meanLength(): number {
    return this.#count === 0 ? 0 : this.#live / this.#count;
  }

  #freeShape(): number | undefined {
    for (let number = 0; number < MAX_TEMPLATES; number += 1) if (this.#shapes[number] === undefined) return number;
    return undefined;
  }

  #packed(slot: number): Uint8Array {
    const at = this.#at[slot]!;
    const chunk = this.#chunks[Math.floor(at / CHUNK_BYTES)]!;
    const offset = at % CHUNK_BYTES;
    return chunk.subarray(offset, offset + this.#length[slot]!);
  }

  /** Chunks are only added to: what was given out, or is being written to a file, stays as it is. @returns chunk and offset in one number */
  #append(bytes: Uint8Array): number {
    const last = this.#chunks.at(-1);
    if (last === undefined || this.#end + bytes.length > last.length) {
      this.#chunks.push(new Uint8Array(Math.max(CHUNK_BYTES, bytes.length)));
      this.#end = 0;
    }
    this.#chunks.at(-1)!.set(bytes, this.#end);
    const at = (this.#chunks.length - 1) * CHUNK_BYTES + this.#end;
    this.#end += bytes.length;
    this.#used += bytes.length;
    return at;
  }

  #compact(): void {
    const kept: Uint8Array[] = [];
    const slots: number[] = [];
    for (let slot = 0; slot < this.#shape.length; slot += 1) {
      if (this.#shape[slot] === NONE) continue;
      slots.push(slot);
      kept.push(this.#packed(slot));
    }
    this.#chunks = [];
    this.#used = 0;
    this.#end = 0;
    for (const [index, slot] of slots.entries()) this.#at[slot] = this.#append(kept[index]!);
  }

  #reserve(count: number): void {
    if (count <= this.#shape.length) return;
    const size = Math.max(64, Math.ceil(this.#shape.length * 1.25), count);
    const before = this.#shape.length;
    this.#at = grown(this.#at, size);
    this.#length = grown(this.#length, size);
    this.#raw = grown(this.#raw, size);
    const shape = new Uint8Array(size).fill(NONE);
    shape.set(this.#shape.subarray(0, before));
    this.#shape = shape;
  }
}

function grown(column: Uint32Array<ArrayBuffer>, size: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(size);
  larger.set(column);
  return larger;
}
