/**
 * A byte string told by what it does not share with another one, its template: runs copied from there, and what stands between them. Values that one
 * program writes for many machines differ in a few dozen bytes, wherever those are.
 */

/** Shorter runs are not worth their telling. */
const MIN_RUN = 8;
/** So that places in it fit 16 bits. */
export const MAX_TEMPLATE_BYTES = 65_535;

export class Template {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  /** Hash of 8 bytes to the last place that they stand at, from 1; 0: nowhere. */
  readonly #places: Uint16Array;
  readonly #shift: number;

  /** @param bytes kept; at most MAX_TEMPLATE_BYTES */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = viewOf(bytes);
    const bits = Math.max(6, Math.ceil(Math.log2(bytes.length + 1)) + 1);
    this.#shift = 32 - bits;
    this.#places = new Uint16Array(2 ** bits);
    for (let place = 0; place + MIN_RUN <= bytes.length; place += 1) this.#places[this.#hash(this.#view, place)] = place + 1;
  }

  /**
   * @param out at least as long as worstCase(value.length)
   * @returns bytes written to out
   */
  encode(value: Uint8Array, out: Uint8Array): number {
    const view = viewOf(value);
    const writer = new Writer(out);
    /** Where in the template we would be if only as much had been replaced as has been told literally. */
    let diagonal = 0;
    let literalFrom = 0;
    let at = 0;
    while (at < value.length) {
      const place = this.#placeOf(view, at, diagonal + at - literalFrom);
      if (place < 0) {
        at += 1;
        continue;
      }
      const length = this.#runLength(view, at, place);
      writer.literal(value, literalFrom, at);
      writer.number(length);
      writer.signed(place - (diagonal + at - literalFrom));
      at += length;
      literalFrom = at;
      diagonal = place + length;
    }
    writer.literal(value, literalFrom, value.length);
    return writer.length;
  }

  /** What encode was given. */
  decode(encoded: Uint8Array, out: Uint8Array): number {
    const reader = new Reader(encoded);
    let diagonal = 0;
    let written = 0;
    for (;;) {
      const literal = reader.number();
      out.set(encoded.subarray(reader.at, reader.at + literal), written);
      reader.at += literal;
      written += literal;
      if (reader.at >= encoded.length) return written;
      const length = reader.number();
      const place = diagonal + literal + reader.signed();
      out.set(this.bytes.subarray(place, place + length), written);
      written += length;
      diagonal = place + length;
      if (reader.at >= encoded.length) return written;
    }
  }

  /** Where a run that begins at the value's place begins here; negative: none. */
  #placeOf(view: DataView, at: number, diagonal: number): number {
    if (at + MIN_RUN > view.byteLength) return -1;
    if (this.#isSame(view, at, diagonal)) return diagonal;
    const place = this.#places[this.#hash(view, at)]! - 1;
    return place >= 0 && this.#isSame(view, at, place) ? place : -1;
  }

  #isSame(view: DataView, at: number, place: number): boolean {
    const mine = this.#view;
    if (place < 0 || place + MIN_RUN > mine.byteLength) return false;
    return view.getUint32(at, true) === mine.getUint32(place, true) && view.getUint32(at + 4, true) === mine.getUint32(place + 4, true);
  }

  #runLength(view: DataView, at: number, place: number): number {
    const mine = this.#view;
    const most = Math.min(view.byteLength - at, mine.byteLength - place);
    let length = MIN_RUN;
    while (length + 4 <= most && view.getUint32(at + length, true) === mine.getUint32(place + length, true)) length += 4;
    while (length < most && view.getUint8(at + length) === mine.getUint8(place + length)) length += 1;
    return length;
  }

  #hash(view: DataView, at: number): number {
    const mixed = Math.imul(view.getUint32(at, true), 0x9e3779b1) ^ Math.imul(view.getUint32(at + 4, true), 0x85ebca6b);
    return Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d) >>> this.#shift;
  }
}

/** Bytes that encode may need for a value of that length. */
export function worstCase(length: number): number {
  return length + Math.ceil(length / MIN_RUN) * 8 + 16;
}

class Writer {
  readonly #out: Uint8Array;
  length = 0;

  constructor(out: Uint8Array) {
    this.#out = out;
  }

  literal(value: Uint8Array, from: number, to: number): void {
    this.number(to - from);
    for (let at = from; at < to; at += 1) this.#out[this.length++] = value[at]!;
  }

  number(value: number): void {
    let left = value;
    while (left >= 0x80) {
      this.#out[this.length++] = (left & 0x7f) | 0x80;
      left >>>= 7;
    }
    this.#out[this.length++] = left;
  }

  signed(value: number): void {
    this.number(value < 0 ? -2 * value - 1 : 2 * value);
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#bytes[this.at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }

  signed(): number {
    const value = this.number();
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
