/** The fleet as observed, in memory: beats in columns, reports folded per node. Filled by ingest and observer, read through FleetView. */
import type { ReportBatch } from "@drover/proto";
import type { HeartbeatMessage } from "../bus/bus.ts";
import { BeatColumns } from "./beat-columns.ts";
import type { FleetView, Health, ObservedNode } from "./fleet.ts";
import { type Folded, fold, nothingReported, type OutboxCursors, type ReportedNode } from "./fold.ts";
import { type BeatFields, readBeat } from "./read-beat.ts";
import { decodeSnapshot, encodeNode, encodeSnapshot } from "./snapshot.ts";

interface Entry {
  readonly nodeId: string;
  readonly index: number;
  reported: ReportedNode;
  cursors: OutboxCursors;
  lastReportUnixMs: number;
  health: Health;
  /** It told something since its verdict. */
  isToJudge: boolean;
  /** As last shown; undefined: changed since. */
  shown: ObservedNode | undefined;
  /** As in the last snapshot; undefined: changed since. */
  encoded: Buffer | undefined;
}

/** What the observer looks at for one node. */
export interface Beat {
  readonly nodeId: string;
  readonly atMs: number | undefined;
  readonly brokerMs: number;
  readonly awakeMs: number;
  readonly flags: number;
  readonly reported: ReportedNode;
}

const ENCODED_PER_TURN = 1_000;
const NEVER_SEEN: Health = { verdict: "unknown", reason: "NeverSeen" };

export class FleetState implements FleetView {
  readonly #entries = new Map<string, Entry>();
  readonly #beats = new BeatColumns();
  readonly #fields: BeatFields = { seq: 0, observedGeneration: 0, stateDigest: 0, flags: 0 };
  readonly #freeIndexes: number[] = [];
  readonly #listeners = new Set<(nodeIds: readonly string[]) => void>();
  #indexes = 0;

  get size(): number {
    return this.#entries.size;
  }

  node(nodeId: string): ObservedNode | undefined {
    const entry = this.#entries.get(nodeId);
    return entry === undefined ? undefined : this.#observed(entry);
  }

  *nodes(): Iterable<ObservedNode> {
    for (const entry of this.#entries.values()) yield this.#observed(entry);
  }

  onChange(listen: (nodeIds: readonly string[]) => void): () => void {
    this.#listeners.add(listen);
    return () => this.#listeners.delete(listen);
  }

  /** Tells the listeners; folds of one pull are told together. */
  notify(nodeIds: readonly string[]): void {
    if (nodeIds.length === 0) return;
    for (const listen of this.#listeners) listen(nodeIds);
  }

  /** Makes the node known though it has told nothing yet. */
  add(nodeId: string): void {
    this.#entry(nodeId);
  }

  /** The node was deleted. */
  forget(nodeId: string): void {
    const entry = this.#entries.get(nodeId);
    if (entry === undefined) return;
    this.#entries.delete(nodeId);
    this.#beats.clear(entry.index);
    this.#freeIndexes.push(entry.index);
  }

  /**
   * Folds one beat. One that does not decode, or that a new consumer shows once more, changes nothing.
   * @param nowMs monotonic; @param awakeMs the observer's time awake and caught up
   */
  foldBeat(nodeId: string, message: Pick<HeartbeatMessage, "payload" | "brokerMs">, nowMs: number, awakeMs: number): void {
    const beat = this.#fields;
    if (!readBeat(message.payload, beat)) return;
    const entry = this.#entry(nodeId);
    const { index } = entry;
    const columns = this.#beats;
    if (message.brokerMs <= columns.brokerMs[index]! && columns.seq[index] === beat.seq) return;
    columns.atMs[index] = nowMs;
    columns.brokerMs[index] = message.brokerMs;
    columns.awakeMs[index] = awakeMs;
    columns.generation[index] = beat.observedGeneration;
    columns.seq[index] = beat.seq;
    columns.stateDigest[index] = beat.stateDigest;
    if (columns.flags[index] !== beat.flags) entry.isToJudge = true;
    columns.flags[index] = beat.flags;
    entry.shown = undefined;
  }

  /** Folds one batch of the node. @param digest of its bytes; @param atUnixMs when it was logged */
  foldReport(nodeId: string, batch: ReportBatch, digest: number, atUnixMs: number): Folded {
    const entry = this.#entry(nodeId);
    const folded = fold(entry.reported, entry.cursors, batch, batch.outboxEpoch.toString("hex"), digest, atUnixMs);
    if (folded.cursors !== entry.cursors) {
      entry.reported = folded.reported;
      entry.shown = undefined;
      entry.cursors = folded.cursors;
      entry.lastReportUnixMs = atUnixMs;
      entry.isToJudge = true;
      entry.encoded = undefined;
    }
    return folded;
  }

  /** @returns whether the verdict changed */
  setHealth(nodeId: string, health: Health): boolean {
    const entry = this.#entries.get(nodeId);
    if (entry === undefined || (entry.health.verdict === health.verdict && entry.health.reason === health.reason)) return false;
    entry.health = health;
    entry.shown = undefined;
    return true;
  }

  *beats(): Iterable<Beat> {
    for (const entry of this.#entries.values()) yield this.#beat(entry);
  }

  /**
   * All but those that are healthy, were heard within quietMs by every view, and have told nothing else since they were called so.
   * @param now monotonic; the broker's newest stamp; the observer's time awake and caught up
   */
  *beatsToJudge(now: { readonly nowMs: number; readonly brokerMs: number; readonly awakeMs: number }, quietMs: number): Iterable<Beat> {
    const { atMs, brokerMs, awakeMs } = this.#beats;
    for (const entry of this.#entries.values()) {
      const { index, health } = entry;
      const isCalm =
        !entry.isToJudge &&
        health.verdict === "healthy" &&
        now.nowMs - atMs[index]! <= quietMs &&
        now.brokerMs - brokerMs[index]! <= quietMs &&
        now.awakeMs - awakeMs[index]! <= quietMs;
      if (isCalm) continue;
      entry.isToJudge = false;
      yield this.#beat(entry);
    }
  }

  /** Does most of a snapshot's work in turns, so that the loop is not held up; what changes meanwhile is encoded by snapshot() itself. */
  async encodeAhead(): Promise<void> {
    let encoded = 0;
    for (const entry of this.#entries.values()) {
      if (entry.encoded !== undefined) continue;
      entry.encoded = encodeEntry(entry);
      encoded += 1;
      if (encoded % ENCODED_PER_TURN === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  /** Reports only: beats are kept by the broker. Nodes unchanged since the last snapshot are not encoded again. @param row of the report log */
  snapshot(row: number): Uint8Array {
    const blocks: Buffer[] = [];
    for (const entry of this.#entries.values()) {
      entry.encoded ??= encodeEntry(entry);
      blocks.push(entry.encoded);
    }
    return encodeSnapshot(row, blocks);
  }

  /** Takes over a snapshot. @returns its report log row; 0: it could not be read, and nothing was taken */
  restore(bytes: Uint8Array): number {
    const snapshot = decodeSnapshot(bytes);
    if (snapshot === undefined) return 0;
    for (const { nodeId, reported, cursors, lastReportUnixMs } of snapshot.nodes) {
      Object.assign(this.#entry(nodeId), { reported, cursors, lastReportUnixMs, shown: undefined, isToJudge: true });
    }
    return snapshot.row;
  }

  /** How far the node's outbox was taken. @param epoch hex */
  takenOf(nodeId: string, epoch: string): number {
    return this.#entries.get(nodeId)?.cursors.find((cursor) => cursor.epoch === epoch)?.seq ?? 0;
  }

  /** The reports behind them are lost: every outbox starts from nothing. */
  forgetCursors(): void {
    for (const entry of this.#entries.values()) {
      entry.cursors = [];
      entry.encoded = undefined;
    }
  }

  #beat({ nodeId, index, reported }: Entry): Beat {
    const at = this.#beats.atMs[index]!;
    return {
      nodeId,
      atMs: Number.isNaN(at) ? undefined : at,
      brokerMs: this.#beats.brokerMs[index]!,
      awakeMs: this.#beats.awakeMs[index]!,
      flags: this.#beats.flags[index]!,
      reported,
    };
  }

  #entry(nodeId: string): Entry {
    const known = this.#entries.get(nodeId);
    if (known !== undefined) return known;
    const index = this.#freeIndexes.pop() ?? this.#indexes++;
    this.#beats.reserve(this.#indexes);
    const entry: Entry = {
      nodeId,
      index,
      reported: nothingReported,
      cursors: [],
      lastReportUnixMs: 0,
      health: NEVER_SEEN,
      isToJudge: true,
      shown: undefined,
      encoded: undefined,
    };
    this.#entries.set(nodeId, entry);
    return entry;
  }

  #observed(entry: Entry): ObservedNode {
    return (entry.shown ??= this.#show(entry));
  }

  #show({ nodeId, index, reported, lastReportUnixMs, health }: Entry): ObservedNode {
    const atMs = this.#beats.atMs[index]!;
    const isSeen = !Number.isNaN(atMs);
    return {
      nodeId,
      beatGeneration: this.#beats.generation[index]!,
      beatFlags: this.#beats.flags[index]!,
      lastBeatAtMs: isSeen ? atMs : undefined,
      lastBeatBrokerMs: isSeen ? this.#beats.brokerMs[index]! : undefined,
      ...reported,
      lastReportUnixMs,
      health,
    };
  }
}

function encodeEntry({ nodeId, reported, cursors, lastReportUnixMs }: Entry): Buffer {
  return encodeNode({ nodeId, reported, cursors, lastReportUnixMs });
}
