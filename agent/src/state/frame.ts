/**
 * One record as it lies in a log file, little endian: length u32, crc32 u32, sequence u64, durableThrough u64, payload.
 * The checksum covers all but itself. durableThrough is the highest sequence that was known to be on disk when the record
 * was written: it tells a torn tail (nobody was promised anything) from a damaged record that was durable once.
 */
import { crc32 } from "node:zlib";

export const HEADER_BYTES = 24;
export const MAX_PAYLOAD_BYTES = 16 * 2 ** 20;

export interface Frame {
  readonly offset: number;
  readonly sequence: number;
  readonly durableThrough: number;
  readonly payload: Buffer;
}

export function encodeFrame(sequence: number, durableThrough: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.writeBigUInt64LE(BigInt(sequence), 8);
  frame.writeBigUInt64LE(BigInt(durableThrough), 16);
  frame.set(payload, HEADER_BYTES);
  frame.writeUInt32LE(checksum(frame), 4);
  return frame;
}

/** The whole, undamaged record at offset; undefined when there is none. */
export function frameAt(bytes: Buffer, offset: number): Frame | undefined {
  if (bytes.length - offset < HEADER_BYTES) return undefined;
  const length = bytes.readUInt32LE(offset);
  if (length > MAX_PAYLOAD_BYTES || bytes.length - offset < HEADER_BYTES + length) return undefined;
  const frame = bytes.subarray(offset, offset + HEADER_BYTES + length);
  if (frame.readUInt32LE(4) !== checksum(frame)) return undefined;
  return {
    offset,
    sequence: Number(frame.readBigUInt64LE(8)),
    durableThrough: Number(frame.readBigUInt64LE(16)),
    payload: frame.subarray(HEADER_BYTES),
  };
}

export interface Scan {
  readonly frames: readonly Frame[];
  /** Where the undamaged records end. */
  readonly endOffset: number;
  /** Set when what follows proves that the record which should be at endOffset was durable once. */
  readonly damagedSequence: number | undefined;
}

/** Reads records from the start of a file whose first record has firstSequence. */
export function scanFrames(bytes: Buffer, firstSequence: number): Scan {
  const frames: Frame[] = [];
  let offset = 0;
  let expected = firstSequence;
  for (;;) {
    const frame = frameAt(bytes, offset);
    if (frame === undefined || frame.sequence !== expected) break;
    frames.push(frame);
    offset += HEADER_BYTES + frame.payload.length;
    expected += 1;
  }
  return { frames, endOffset: offset, damagedSequence: provesDurable(bytes, offset, expected) ? expected : undefined };
}

function provesDurable(bytes: Buffer, from: number, sequence: number): boolean {
  for (let offset = from; offset + HEADER_BYTES <= bytes.length; offset += 1) {
    const length = bytes.readUInt32LE(offset);
    if (length > bytes.length - offset - HEADER_BYTES) continue;
    // Cheap tests first: a checksum at every byte of a long rest would be quadratic.
    if (bytes.readUInt32LE(offset + 12) > 0xffff || bytes.readUInt32LE(offset + 20) > 0xffff) continue;
    const found = Number(bytes.readBigUInt64LE(offset + 8));
    if (found < sequence || found > sequence + bytes.length) continue;
    const frame = frameAt(bytes, offset);
    if (frame !== undefined && frame.durableThrough >= sequence) return true;
  }
  return false;
}

function checksum(frame: Buffer): number {
  return crc32(frame.subarray(8), crc32(frame.subarray(0, 4)));
}
