/** What steps said, on disk, bounded: the oldest goes first. Read by step for CollectLogs. */
import { createHash, type Hash } from "node:crypto";
import { redact } from "../host/redact.ts";
import type { DurableLog, StateDirectory } from "../ports.ts";
import type { OutputSink, OutputSummary, StepOutput } from "../reconcile/reconcile-ports.ts";

export interface OutputRingOptions {
  /** Default 4 MiB. */
  readonly maxBytes?: number;
}

/** A piece of the output of one step: from `offset` on, bytes of its latest run. */
export interface OutputChunk {
  readonly offset: number;
  readonly bytes: Buffer;
  /** Nothing follows, for now. */
  readonly isLast: boolean;
}

const CHUNK_BYTES = 16 * 2 ** 10;
const TAIL_BYTES = 2 * 2 ** 10;
const MAX_LINE_LENGTH = 8_000;
const MAX_BYTES = 4 * 2 ** 20;

export class OutputRing implements OutputSink {
  readonly #log: DurableLog;
  readonly #maxBytes: number;
  #work: Promise<void> = Promise.resolve();
  #failure: unknown;

  private constructor(log: DurableLog, maxBytes: number) {
    this.#log = log;
    this.#maxBytes = maxBytes;
  }

  static async open(state: StateDirectory, options: OutputRingOptions = {}): Promise<OutputRing> {
    return new OutputRing(await state.openLog("output"), options.maxBytes ?? MAX_BYTES);
  }

  begin(step: string): StepOutput {
    const hash = createHash("sha256");
    let buffered: Buffer[] = [];
    let bufferedBytes = 0;
    let tail = "";
    let offset = 0;
    const spill = (): void => {
      if (bufferedBytes === 0) return;
      const bytes = Buffer.concat(buffered);
      const record = encodeRecord(step, offset, bytes);
      offset += bytes.length;
      buffered = [];
      bufferedBytes = 0;
      this.#append(record);
    };
    return {
      say: (line) => {
        const text = `${redact(line.slice(0, MAX_LINE_LENGTH))}\n`;
        const bytes = Buffer.from(text);
        hash.update(bytes);
        tail = `${tail}${text}`.slice(-TAIL_BYTES);
        buffered.push(bytes);
        bufferedBytes += bytes.length;
        if (bufferedBytes >= CHUNK_BYTES) spill();
      },
      finish: async () => {
        spill();
        await this.#work;
        if (this.#failure !== undefined) throw this.#failure;
        return this.#summary(step, tail, offset, hash);
      },
    };
  }

  /**
   * @param step empty: everything that is held, in the order it was said
   * @returns undefined when nothing of that step is held
   */
  read(step: string, fromOffset: number, maxBytes: number): OutputChunk | undefined {
    const held = this.#held(step);
    const first = held[0];
    if (first === undefined) return undefined;
    const startOffset = Math.max(fromOffset, first.offset);
    const pieces: Buffer[] = [];
    let missing = maxBytes;
    for (const { offset, bytes } of held) {
      if (missing <= 0) break;
      const piece = bytes.subarray(Math.max(0, startOffset - offset)).subarray(0, missing);
      pieces.push(piece);
      missing -= piece.length;
    }
    const last = held.at(-1)!;
    const chunk = Buffer.concat(pieces);
    return { offset: startOffset, bytes: chunk, isLast: startOffset + chunk.length >= last.offset + last.bytes.length };
  }

  #append(record: Buffer): void {
    this.#work = this.#work
      .then(async () => {
        const sequence = await this.#log.append(record);
        let excess = this.#log.sizeBytes - this.#maxBytes;
        let through = 0;
        for (const { payload, sequence: each } of this.#log.records) {
          if (excess <= 0 || each === sequence) break;
          excess -= payload.length;
          through = each;
        }
        if (through > 0) await this.#log.trimThrough(through);
      })
      .catch((error: unknown) => {
        this.#failure ??= error;
      });
  }

  #held(step: string): { offset: number; bytes: Buffer }[] {
    const decoded = this.#log.records.map((record) => decodeRecord(record.payload));
    if (step === "") {
      let offset = 0;
      return decoded.map(({ bytes }) => {
        const piece = { offset, bytes };
        offset += bytes.length;
        return piece;
      });
    }
    const ofStep = decoded.filter((record) => record.step === step);
    // Offsets begin at 0 with each run: what comes before the last such place is of older runs.
    const lastStart = ofStep.findLastIndex((record) => record.offset === 0);
    return lastStart < 0 ? ofStep : ofStep.slice(lastStart);
  }

  #summary(step: string, tail: string, totalBytes: number, hash: Hash): OutputSummary {
    const held = this.#held(step).reduce((sum, { bytes }) => sum + bytes.length, 0);
    return { tail, digest: totalBytes === 0 ? Buffer.alloc(0) : hash.digest(), heldBytes: held };
  }
}

function encodeRecord(step: string, offset: number, bytes: Buffer): Buffer {
  const name = Buffer.from(step);
  const header = Buffer.alloc(10);
  header.writeUInt16LE(name.length, 0);
  header.writeDoubleLE(offset, 2);
  return Buffer.concat([header, name, bytes]);
}

function decodeRecord(payload: Buffer): { step: string; offset: number; bytes: Buffer } {
  const nameEnd = 10 + payload.readUInt16LE(0);
  return { step: payload.toString("utf8", 10, nameEnd), offset: payload.readDoubleLE(2), bytes: payload.subarray(nameEnd) };
}
