/**
 * How sessions of many agents share one stream of bytes: frames of a length, a session's number, a kind and a payload. Spoken on a unix socket between the
 * simulation and its own coordinator; no product speaks it.
 */

export const frameKinds = {
  /** To the coordinator: a session begins; the payload is the node id. */
  open: 1,
  /** A ConverseRequest, or a ConverseResponse. */
  message: 2,
  /** Nothing more comes from the sender; from the coordinator, the session is over, and the payload says why (empty: as it should). */
  end: 3,
} as const;

export interface Frame {
  readonly session: number;
  readonly kind: number;
  readonly payload: Buffer;
}

/** uint32 length of what follows, uint32 session, uint8 kind. */
const HEADER_BYTES = 9;

export function encodeFrame(session: number, kind: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32LE(HEADER_BYTES - 4 + payload.length, 0);
  frame.writeUInt32LE(session, 4);
  frame.writeUInt8(kind, 8);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Takes chunks as they come, gives whole frames. */
export class FrameReader {
  #held: Buffer = Buffer.alloc(0);

  take(chunk: Buffer): Frame[] {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const frames: Frame[] = [];
    let offset = 0;
    while (bytes.length - offset >= HEADER_BYTES) {
      const end = offset + 4 + bytes.readUInt32LE(offset);
      if (end > bytes.length) break;
      const payload = bytes.subarray(offset + HEADER_BYTES, end);
      frames.push({ session: bytes.readUInt32LE(offset + 4), kind: bytes.readUInt8(offset + 8), payload });
      offset = end;
    }
    this.#held = bytes.subarray(offset);
    return frames;
  }
}
