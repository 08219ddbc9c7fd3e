/**
 * An append-only log in segment files "<name>.<first sequence, 16 digits>.log". Appends that wait together share one
 * write and one fsync. Trimming removes whole segments. Payloads stay on disk and are read when asked for.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open, readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { DurableLog, LogRecord } from "../ports.ts";
import { encodeFrame, frameAt, HEADER_BYTES, MAX_PAYLOAD_BYTES, scanFrames } from "./frame.ts";
import { DamagedLog, StorageFailed } from "./state-errors.ts";

const DEFAULT_SEGMENT_BYTES = 2 ** 20;

interface Segment {
  readonly path: string;
  readonly firstSequence: number;
  readonly readFd: number;
}

interface Waiting {
  readonly payload: Uint8Array;
  readonly resolve: (sequence: number) => void;
  readonly reject: (error: unknown) => void;
}

export class FileLog implements DurableLog {
  readonly #directory: string;
  readonly #name: string;
  readonly #segmentBytes: number;
  readonly #segments: Segment[] = [];
  #records: FileRecord[] = [];
  #sizeBytes = 0;
  #nextSequence = 1;
  #durableThrough = 0;
  #tail: FileHandle | undefined;
  #tailBytes = 0;
  #waiting: Waiting[] = [];
  #underWay = 0;
  #work: Promise<void> = Promise.resolve();
  #failure: unknown;

  private constructor(directory: string, name: string, segmentBytes: number) {
    this.#directory = directory;
    this.#name = name;
    this.#segmentBytes = segmentBytes;
  }

  /** @throws DamagedLog when a record that was durable once cannot be read */
  static async open(directory: string, name: string, segmentBytes = DEFAULT_SEGMENT_BYTES): Promise<FileLog> {
    const log = new FileLog(directory, name, segmentBytes);
    try {
      await log.#load();
    } catch (error) {
      await log.close();
      throw error;
    }
    return log;
  }

  get records(): readonly LogRecord[] {
    return this.#records;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get nextSequence(): number {
    return this.#nextSequence + this.#underWay + this.#waiting.length;
  }

  append(payload: Uint8Array): Promise<number> {
    if (payload.length > MAX_PAYLOAD_BYTES)
      throw new RangeError(`a log record holds at most ${MAX_PAYLOAD_BYTES} bytes, not ${payload.length}`);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ payload, resolve, reject });
      if (this.#waiting.length === 1) void this.#inTurn(() => this.#writeWaiting());
    });
  }

  trimThrough(sequence: number): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#failure !== undefined) throw this.#failure;
      const kept = this.#records.findIndex((record) => record.sequence > sequence);
      const dropped = this.#records.splice(0, kept < 0 ? this.#records.length : kept);
      for (const record of dropped) this.#sizeBytes -= record.byteLength;
      const firstKept = this.#records[0]?.sequence ?? this.#nextSequence;
      // The last segment holds the sequence; a big one that is not needed is first followed by a new one.
      if (this.#records.length === 0 && this.#tailBytes >= this.#segmentBytes) await this.#startSegment();
      while (this.#segments.length > 1 && this.#segments[1]!.firstSequence <= firstKept) {
        const [segment] = this.#segments.splice(0, 1);
        closeSync(segment!.readFd);
        await unlink(segment!.path);
      }
    });
  }

  async close(): Promise<void> {
    await this.#work.catch(() => undefined);
    await this.#tail?.close();
    this.#tail = undefined;
    for (const segment of this.#segments.splice(0)) closeSync(segment.readFd);
  }

  /** Removes all files of a log. */
  static async remove(directory: string, name: string): Promise<void> {
    for (const file of await segmentFiles(directory, name)) await unlink(join(directory, file.name));
    await syncDirectory(directory);
  }

  async #load(): Promise<void> {
    const files = await segmentFiles(this.#directory, this.#name);
    for (const [index, file] of files.entries()) {
      const path = join(this.#directory, file.name);
      const isLast = index === files.length - 1;
      if (index > 0 && file.firstSequence !== this.#nextSequence) {
        throw new DamagedLog(path, 0, `record ${this.#nextSequence} is missing before it`);
      }
      this.#nextSequence = file.firstSequence;
      const bytes = await readFile(path);
      const scan = scanFrames(bytes, file.firstSequence);
      if (scan.damagedSequence !== undefined || (!isLast && scan.endOffset !== bytes.length)) {
        throw new DamagedLog(path, scan.endOffset, `record ${file.firstSequence + scan.frames.length} does not match its checksum`);
      }
      const segment: Segment = { path, firstSequence: file.firstSequence, readFd: openSync(path, "r") };
      this.#segments.push(segment);
      for (const frame of scan.frames) this.#remember(segment, frame.sequence, frame.offset, frame.payload.length);
      if (isLast) await this.#openTail(path, scan.endOffset, bytes.length);
    }
    this.#durableThrough = this.#nextSequence - 1;
    if (files.length === 0) await this.#startSegment();
  }

  async #openTail(path: string, endOffset: number, fileBytes: number): Promise<void> {
    this.#tail = await open(path, "r+");
    this.#tailBytes = endOffset;
    if (endOffset < fileBytes) await this.#tail.truncate(endOffset);
    // What was read may be in the page cache only: it counts as durable from now on, so it has to be.
    await this.#tail.sync();
    await syncDirectory(this.#directory);
  }

  async #startSegment(): Promise<void> {
    const path = join(this.#directory, segmentName(this.#name, this.#nextSequence));
    const tail = await open(path, "wx+", 0o600);
    await tail.sync();
    await syncDirectory(this.#directory);
    await this.#tail?.close();
    this.#tail = tail;
    this.#tailBytes = 0;
    this.#segments.push({ path, firstSequence: this.#nextSequence, readFd: openSync(path, "r") });
  }

  async #writeWaiting(): Promise<void> {
    const group = this.#waiting;
    this.#waiting = [];
    this.#underWay = group.length;
    try {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#tailBytes >= this.#segmentBytes) await this.#startSegment();
      const first = this.#nextSequence;
      // durableThrough is read before the write: the group promises nothing about itself.
      const frames = group.map(({ payload }, index) => encodeFrame(first + index, this.#durableThrough, payload));
      const bytes = Buffer.concat(frames);
      for (let written = 0; written < bytes.length; ) {
        written += (await this.#tail!.write(bytes, written, bytes.length - written, this.#tailBytes + written)).bytesWritten;
      }
      await this.#tail!.datasync();
      const segment = this.#segments.at(-1)!;
      this.#underWay = 0;
      for (const frame of frames) {
        this.#remember(segment, this.#nextSequence, this.#tailBytes, frame.length - HEADER_BYTES);
        this.#tailBytes += frame.length;
      }
      this.#durableThrough = this.#nextSequence - 1;
      for (const [index, each] of group.entries()) each.resolve(first + index);
    } catch (error) {
      this.#failure ??= error instanceof StorageFailed ? error : new StorageFailed(join(this.#directory, this.#name), error);
      for (const each of group) each.reject(this.#failure);
    }
  }

  #remember(segment: Segment, sequence: number, offset: number, payloadBytes: number): void {
    this.#records.push(new FileRecord(segment, sequence, offset, payloadBytes));
    this.#sizeBytes += HEADER_BYTES + payloadBytes;
    this.#nextSequence = sequence + 1;
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#work.then(work);
    this.#work = done.catch(() => undefined);
    return done;
  }
}

class FileRecord implements LogRecord {
  readonly sequence: number;
  readonly #segment: Segment;
  readonly #offset: number;
  readonly #payloadBytes: number;

  constructor(segment: Segment, sequence: number, offset: number, payloadBytes: number) {
    this.sequence = sequence;
    this.#segment = segment;
    this.#offset = offset;
    this.#payloadBytes = payloadBytes;
  }

  get byteLength(): number {
    return HEADER_BYTES + this.#payloadBytes;
  }

  /** @throws DamagedLog when the disk no longer gives back what was written */
  get payload(): Buffer {
    const bytes = Buffer.allocUnsafe(this.byteLength);
    const available = fstatSync(this.#segment.readFd).size - this.#offset;
    const read = available < bytes.length ? 0 : readSync(this.#segment.readFd, bytes, 0, bytes.length, this.#offset);
    const frame = read === bytes.length ? frameAt(bytes, 0) : undefined;
    if (frame?.sequence !== this.sequence)
      throw new DamagedLog(this.#segment.path, this.#offset, `record ${this.sequence} changed on disk`);
    return frame.payload;
  }
}

function segmentName(name: string, firstSequence: number): string {
  return `${name}.${String(firstSequence).padStart(16, "0")}.log`;
}

async function segmentFiles(directory: string, name: string): Promise<{ name: string; firstSequence: number }[]> {
  return (await readdir(directory))
    .filter((file) => file.startsWith(`${name}.`) && /^\d{16}\.log$/.test(file.slice(name.length + 1)))
    .sort()
    .map((file) => ({ name: file, firstSequence: Number(file.slice(name.length + 1, name.length + 17)) }));
}

/** What makes a created, renamed or removed name durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
