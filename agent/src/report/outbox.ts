/**
 * Reports that the coordinator does not have yet. A batch is appended and fsynced, then published; only the coordinator's
 * cumulative ack frees it. What goes into a batch and what may be dropped is report-batches.ts's, when to send is pacing.ts's.
 */
import type { Clock, Log, Random } from "@drover/lifecycle";
import { type Ack, type Budget, type Event, type Gap, ReportBatch } from "@drover/proto";
import type { AgentBus, DurableLog, StateDirectory } from "../ports.ts";
import type { Reporter } from "../reconcile/reconcile-ports.ts";
import { Pacing } from "./pacing.ts";
import { type BatchLimits, defaultBatchLimits, fitting, isRoutine, keepWithin, sizeOf, supersededBy, widened } from "./report-batches.ts";

export interface OutboxParts {
  readonly nodeId: string;
  readonly state: StateDirectory;
  readonly bus: Pick<AgentBus, "isConnected" | "publishReport">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Default 64 MiB. */
  readonly maxBytes?: number;
  readonly limits?: BatchLimits;
  /** Reports were dropped and there is room again: tell all that can be observed. */
  readonly onRoomAgain?: () => void;
  /** The coordinator has lost reports that it had acknowledged: tell all that is known. */
  readonly onLost?: () => void;
}

/** Above this share routine events are not taken; the rest is for results and failures. */
const PRESSED_SHARE = 0.75;
const RELIEVED_SHARE = 0.5;
/** Published and not acknowledged; the reports stream keeps 1,000 messages of a node. */
const WINDOW_BATCHES = 256;
const WINDOW_BYTES = 512 * 2 ** 10;
const MIN_BATCH_BYTES = 2 ** 10;
/** The bus carries 64 KiB and cuts whoever sends more: such a batch would be sent, and cut, for ever. */
const MAX_EVENT_BYTES = 60 * 2 ** 10;
/** A late ack is not later than this. */
const LOWER_ACKS_MS = 2_500;
const FILE = "outbox.json";

interface OutboxFile {
  /** Hex. */
  readonly epoch: string;
  /** Hex of an epoch whose log is to be removed. */
  readonly leftover?: string;
}

export class Outbox implements Reporter {
  readonly #parts: OutboxParts;
  readonly #maxBytes: number;
  readonly #pacing: Pacing;
  readonly #fatal = Promise.withResolvers<never>();
  #limits: BatchLimits;
  #epoch: Buffer;
  /** Already being left: each batch under way is answered with the same ack. */
  #leftEpoch: Buffer | undefined;
  /** Monotonic; no ack since was as high as what is freed. */
  #lowerSinceMs: number | undefined;
  /** A session asked how far this outbox was taken. */
  #isAnswerAwaited = false;
  #log: DurableLog;
  #pending: Event[] = [];
  #pendingBytes = 0;
  #gap: Gap | undefined;
  #hasDropped = false;
  #acked: number;
  #published: number;
  #work: Promise<void> = Promise.resolve();

  private constructor(parts: OutboxParts, epoch: Buffer, log: DurableLog) {
    this.#parts = parts;
    this.#maxBytes = parts.maxBytes ?? 64 * 2 ** 20;
    this.#limits = parts.limits ?? defaultBatchLimits;
    this.#epoch = epoch;
    this.#log = log;
    this.#acked = (log.records[0]?.sequence ?? log.nextSequence) - 1;
    this.#published = this.#acked;
    this.#pacing = new Pacing(parts.clock, parts.random, {
      seal: () => this.#inTurn(() => this.#seal()),
      resend: () => this.#resend(),
      send: () => this.#publish(),
      isConnected: () => parts.bus.isConnected,
      isAckAwaited: () => this.#published > this.#acked,
    });
    this.#fatal.promise.catch(() => undefined);
  }

  static async open(parts: OutboxParts): Promise<Outbox> {
    const content = await parts.state.readFile(FILE);
    const file: OutboxFile =
      content === undefined ? { epoch: parts.random.bytes(8).toString("hex") } : (JSON.parse(content.toString()) as OutboxFile);
    if (file.leftover !== undefined) await parts.state.removeLog(logName(file.leftover));
    const log = await parts.state.openLog(logName(file.epoch));
    if (content === undefined || file.leftover !== undefined) await writeFile(parts.state, { epoch: file.epoch });
    return new Outbox(parts, Buffer.from(file.epoch, "hex"), log);
  }

  /** 8 bytes. */
  get epoch(): Buffer {
    return this.#epoch;
  }

  /** Routine events are being dropped. */
  get isPressed(): boolean {
    return this.#log.sizeBytes > this.#maxBytes * PRESSED_SHARE;
  }

  /** Batches that are not acknowledged. */
  get unacknowledged(): number {
    return this.#log.nextSequence - 1 - this.#acked;
  }

  /**
   * The coordinator may have lost what it had acknowledged: it was asked and its answer has not come, or was too low once, which may have been a late one.
   * Who has nothing to tell learns of it by asking again, and by nothing else.
   */
  get isInDoubt(): boolean {
    return this.#isAnswerAwaited || this.#lowerSinceMs !== undefined;
  }

  /** A session begins: the coordinator answers on the bus how far it has taken this outbox. */
  expectAck(): void {
    this.#isAnswerAwaited = true;
  }

  record(events: readonly Event[]): Promise<void> {
    for (const event of events) this.#take(event);
    return this.#inTurn(async () => {
      await this.#seal();
      // Also while acks stay away: what slows down then is what is routine, and what is sent again.
      this.#publish();
    });
  }

  note(events: readonly Event[]): void {
    for (const event of events) {
      if (isRoutine(event) && this.isPressed) this.#drop(event);
      else this.#take(event);
    }
    if (this.#pending.length >= this.#limits.maxEvents || this.#pendingBytes >= this.#limits.maxBytes) this.flush().catch(toldByRun);
    else if (this.#pending.length > 0) this.#pacing.wantSeal();
  }

  /** Durable and published, as far as the window and the connection let it. */
  async flush(): Promise<void> {
    await this.#inTurn(() => this.#seal());
    this.#publish();
  }

  takeAck({ outboxEpoch, seq }: Ack): void {
    if (!this.#epoch.equals(outboxEpoch)) return;
    this.#isAnswerAwaited = false;
    if (seq >= this.#log.nextSequence) {
      // The coordinator has seen what this outbox never held: our state was put back to an older one.
      this.#leaveEpoch({ ackedSeq: seq, nextSeq: this.#log.nextSequence }, "outbox is older than what was acknowledged");
      return;
    }
    if (seq < this.#acked) {
      this.#takeLowerAck(seq);
      return;
    }
    this.#lowerSinceMs = undefined;
    if (seq > this.#acked) {
      this.#acked = seq;
      this.#published = Math.max(this.#published, seq);
      this.#pacing.acknowledged(this.#published > this.#acked);
      const log = this.#log;
      this.#inTurn(async () => {
        if (log === this.#log) await log.trimThrough(seq);
        this.#tellRoom();
      }).catch(toldByRun);
      this.#publish();
    } else if (seq === this.#acked && this.#published > this.#acked) {
      this.#pacing.wantResendSoon();
    }
  }

  takeBudget({ minReportIntervalMs, maxBatchBytes }: Budget): void {
    this.#pacing.setMinInterval(minReportIntervalMs);
    const maxBytes = maxBatchBytes === 0 ? defaultBatchLimits.maxBytes : Math.max(MIN_BATCH_BYTES, maxBatchBytes);
    this.#limits = { ...this.#limits, maxBytes: Math.min(maxBytes, defaultBatchLimits.maxBytes) };
  }

  /** What was published around an outage may be lost without an error. */
  takeConnected(): void {
    if (this.unacknowledged > 0) this.#pacing.wantResendSoon();
  }

  /** Until the signal aborts; then what is pending is made durable and published. @throws when durable state fails */
  async run(signal: AbortSignal): Promise<void> {
    const stopped = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.takeConnected();
    await Promise.race([stopped, this.#fatal.promise]);
    try {
      await this.flush();
    } finally {
      this.#pacing.stop();
    }
  }

  /** One may be late. When all are lower, the coordinator has lost what is freed here, and would wait for it for ever. */
  #takeLowerAck(seq: number): void {
    const nowMs = this.#parts.clock.monotonicMs();
    this.#lowerSinceMs ??= nowMs;
    if (nowMs - this.#lowerSinceMs >= LOWER_ACKS_MS) {
      this.#leaveEpoch({ ackedSeq: seq, freedSeq: this.#acked }, "the coordinator has lost what it had acknowledged");
    } else if (this.unacknowledged > 0) this.#pacing.wantResendSoon();
  }

  /** Nothing can go on in this epoch: what is left goes into a new one. */
  #leaveEpoch(fields: Readonly<Record<string, number>>, sentence: string): void {
    const left = this.#epoch;
    if (this.#leftEpoch === left) return;
    this.#leftEpoch = left;
    this.#parts.log.warn(fields, sentence);
    this.#inTurn(async () => {
      if (this.#epoch === left) await this.#startAnew(Number.POSITIVE_INFINITY);
    }).then(() => {
      this.#publish();
      this.#parts.onLost?.();
    }, toldByRun);
  }

  #take(event: Event): void {
    const bytes = sizeOf(event);
    if (bytes > MAX_EVENT_BYTES) {
      this.#parts.log.error({ event: event.body?.$case, bytes }, "an event is too large for the bus and is dropped");
      this.#drop(event);
      return;
    }
    const superseded = supersededBy(event, this.#pending);
    if (superseded >= 0) for (const before of this.#pending.splice(superseded, 1)) this.#pendingBytes -= sizeOf(before);
    this.#pending.push(event);
    this.#pendingBytes += bytes;
  }

  #drop(event: Event): void {
    this.#gap = widened(this.#gap, [event]);
    // The first drop is told at once, and durably; the others together, when there is room or something else to tell.
    if (!this.#hasDropped) this.#pacing.wantSeal();
    this.#hasDropped = true;
  }

  async #seal(): Promise<void> {
    if (this.#gap !== undefined) {
      this.#pending.unshift(this.#gapEvent(this.#gap));
      this.#gap = undefined;
    }
    const appends: Promise<number>[] = [];
    while (this.#pending.length > 0) {
      if (this.#log.sizeBytes + this.#pendingBytes > this.#maxBytes) {
        await Promise.all(appends.splice(0));
        await this.#startAnew(this.#maxBytes * RELIEVED_SHARE);
      }
      const events = this.#pending.splice(0, fitting(this.#pending, this.#limits));
      appends.push(this.#log.append(this.#encode(events, this.#log.nextSequence)));
    }
    this.#pendingBytes = 0;
    await Promise.all(appends);
  }

  /** A new outbox epoch with what must be kept of the old one: seqs have no holes, so nothing can be taken out of an old one. */
  async #startAnew(keepBytes: number): Promise<void> {
    const { state, random, log } = this.#parts;
    const old = this.#log;
    const payloads = old.records.map((record) => record.payload);
    const kept =
      keepBytes === Number.POSITIVE_INFINITY
        ? { events: payloads.flatMap((payload) => ReportBatch.decode(payload).events), gap: undefined }
        : keepWithin(payloads, keepBytes);
    const oldName = this.#epoch.toString("hex");
    const epoch = random.bytes(8);
    await writeFile(state, { epoch: oldName, leftover: epoch.toString("hex") });
    const next = await state.openLog(logName(epoch.toString("hex")));
    const left = kept.gap === undefined ? [...kept.events] : [this.#gapEvent(kept.gap), ...kept.events];
    const appends: Promise<number>[] = [];
    while (left.length > 0) {
      const events = left.splice(0, fitting(left, this.#limits));
      appends.push(next.append(this.#encode(events, next.nextSequence, epoch)));
    }
    await Promise.all(appends);
    await writeFile(state, { epoch: epoch.toString("hex"), leftover: oldName });
    this.#epoch = epoch;
    this.#log = next;
    this.#acked = 0;
    this.#published = 0;
    this.#lowerSinceMs = undefined;
    this.#hasDropped ||= kept.gap !== undefined;
    log.warn({ droppedEvents: kept.gap?.droppedEvents ?? 0, keptEvents: kept.events.length }, "outbox was started anew");
    await old.close();
    await state.removeLog(logName(oldName));
    await writeFile(state, { epoch: epoch.toString("hex") });
  }

  #encode(events: Event[], seq: number, outboxEpoch: Buffer = this.#epoch): Uint8Array {
    return ReportBatch.encode({ nodeId: this.#parts.nodeId, outboxEpoch, seq, events }).finish();
  }

  #publish(): void {
    const { bus } = this.#parts;
    const { records } = this.#log;
    if (this.unacknowledged > 0) this.#pacing.awaitAck();
    if (!bus.isConnected || records.length === 0) return;
    const firstSequence = records[0]!.sequence;
    let bytes = 0;
    for (let index = Math.max(0, this.#acked + 1 - firstSequence); index < records.length; index += 1) {
      const record = records[index]!;
      if (record.sequence - this.#acked > WINDOW_BATCHES || bytes >= WINDOW_BYTES) break;
      const { payload } = record;
      bytes += payload.length;
      if (record.sequence <= this.#published) continue;
      if (!bus.publishReport(payload)) break;
      this.#published = record.sequence;
    }
  }

  #resend(): void {
    this.#published = this.#acked;
    this.#publish();
  }

  #tellRoom(): void {
    if (!this.#hasDropped || this.#log.sizeBytes > this.#maxBytes * RELIEVED_SHARE) return;
    this.#hasDropped = false;
    if (this.#gap !== undefined) this.#pacing.wantSeal();
    this.#parts.onRoomAgain?.();
  }

  #gapEvent(gap: Gap): Event {
    return { atMs: Math.floor(this.#parts.clock.now()), generation: 0, planEpoch: 0, body: { $case: "gap", value: gap } };
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#work.then(work);
    this.#work = done.catch((error: unknown) => this.#fatal.reject(error));
    return done;
  }
}

/** A failure of durable state is what run throws; who only noted something does not hear of it. */
function toldByRun(): void {}

function logName(epoch: string): string {
  return `outbox-${epoch}`;
}

function writeFile(state: StateDirectory, file: OutboxFile): Promise<void> {
  return state.writeFile(FILE, Buffer.from(JSON.stringify(file)));
}
