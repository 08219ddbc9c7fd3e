/** The fleet as observed, in memory: beats in columns, reports folded per node. Filled by ingest and observer, read through FleetView. */
import type { ReportBatch } from "@drover/proto";
import type { HeartbeatMessage } from "../bus/bus.ts";
import { BeatColumns } from "./beat-columns.ts";
import type { FleetView, Health, ObservedNode } from "./fleet.ts";
import { type Folded, fold, nothingReported, type ReportedNode } from "./fold.ts";
import { ObservedEntry, type ObservedParts } from "./observed-entry.ts";
import { type BeatFields, readBeat } from "./read-beat.ts";
import { decodeSnapshot, encodeSnapshot } from "./snapshot.ts";
import { type Head, type Told, ToldValues } from "./told-values.ts";

interface Entry {
  readonly nodeId: string;
  readonly index: number;
  head: Head;
  /** What it reported, as objects, if it did so lately; undefined: packed, or nothing. */
  live: Live | undefined;
  lastReportUnixMs: number;
  factsVersion: number;
  health: Health;
  /** It told something since its verdict. */
  isToJudge: boolean;
}

interface Live extends Told {
  /** As packed last; undefined: never. */
  packed: ReportedNode | undefined;
  isPacked: boolean;
  /** Snapshots made before it reported last. */
  round: number;
}

/** What the observer looks at for one node. */
export interface Beat {
  readonly nodeId: string;
  readonly atMs: number | undefined;
  readonly brokerMs: number;
  readonly awakeMs: number;
  readonly flags: number;
  readonly head: Head;
}

const ENCODED_PER_TURN = 1_000;
const NEVER_SEEN: Health = { verdict: "unknown", reason: "NeverSeen" };
const NOTHING: Told = { reported: nothingReported, cursors: [] };

export class FleetState implements FleetView {
  readonly #entries = new Map<string, Entry>();
  readonly #beats = new BeatColumns();
  readonly #fields: BeatFields = { seq: 0, observedGeneration: 0, stateDigest: 0, flags: 0 };
  readonly #freeIndexes: number[] = [];
  readonly #listeners = new Set<(nodeIds: readonly string[]) => void>();
  #told = new ToldValues();
  readonly #nothing = this.#told.headOf(nothingReported);
  #indexes = 0;
  /** Snapshots made. */
  #round = 0;

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
    this.#told.delete(entry.index);
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
  }

  /** Folds one batch of the node. @param digest of its bytes; @param atUnixMs when it was logged */
  foldReport(nodeId: string, batch: ReportBatch, digest: number, atUnixMs: number): Folded {
    const entry = this.#entry(nodeId);
    const { live } = entry;
    const before = live ?? this.#toldOf(entry);
    const folded = fold(before.reported, before.cursors, batch, batch.outboxEpoch.toString("hex"), digest, atUnixMs);
    if (folded.cursors !== before.cursors) {
      const { reported, cursors } = folded;
      const packed = live === undefined ? (this.#told.has(entry.index) ? before.reported : undefined) : live.packed;
      entry.live = { reported, cursors, packed, isPacked: false, round: this.#round };
      if (reported.facts !== before.reported.facts) entry.factsVersion += 1;
      if (reported !== before.reported) entry.head = this.#told.headOf(reported);
      entry.lastReportUnixMs = atUnixMs;
      entry.isToJudge = true;
    }
    return folded;
  }

  /** @returns whether the verdict changed */
  setHealth(nodeId: string, health: Health): boolean {
    const entry = this.#entries.get(nodeId);
    if (entry === undefined || (entry.health.verdict === health.verdict && entry.health.reason === health.reason)) return false;
    entry.health = health;
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

  /** Does most of a snapshot's work in turns, so that the loop is not held up; what changes meanwhile is packed by snapshot() itself. */
  async encodeAhead(): Promise<void> {
    let packed = 0;
    for (const entry of this.#entries.values()) {
      if (entry.live === undefined || entry.live.isPacked) continue;
      this.#pack(entry, entry.live);
      packed += 1;
      if (packed % ENCODED_PER_TURN === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  /**
   * Reports only: beats are kept by the broker. What nodes told that have been silent since the snapshot before is held packed only, from then on.
   * @param row of the report log
   * @returns pieces of one file
   */
  snapshot(row: number): readonly Uint8Array[] {
    const size = this.#entries.size;
    const fleet = {
      row,
      nodeIds: [] as string[],
      indexes: new Uint32Array(size),
      lastReports: new Float64Array(size),
      headOf: new Uint32Array(size),
    };
    const heads = new Map<Head, number>();
    for (const entry of this.#entries.values()) {
      const { nodeId, index, head, live, lastReportUnixMs } = entry;
      if (live !== undefined && !live.isPacked) this.#pack(entry, live);
      if (live !== undefined && live.round < this.#round) entry.live = undefined;
      const place = fleet.nodeIds.push(nodeId) - 1;
      fleet.indexes[place] = index;
      fleet.lastReports[place] = lastReportUnixMs;
      if (!heads.has(head)) heads.set(head, heads.size);
      fleet.headOf[place] = heads.get(head)!;
    }
    this.#round += 1;
    return encodeSnapshot({ ...fleet, heads: [...heads.keys()], columns: this.#told.columns() });
  }

  /** Takes over a snapshot, into an empty fleet. @param bytes kept @returns its report log row; 0: it could not be read, and nothing was taken */
  restore(bytes: Uint8Array): number {
    const snapshot = decodeSnapshot(bytes);
    if (snapshot === undefined) return 0;
    if (snapshot.kind === "blocks") {
      for (const { nodeId, reported, cursors, lastReportUnixMs } of snapshot.nodes) {
        const entry = this.#entry(nodeId);
        // As of one that was written before a field was there.
        const told = { reported: { ...nothingReported, ...reported }, cursors };
        entry.head = this.#told.headOf(told.reported);
        entry.lastReportUnixMs = lastReportUnixMs;
        entry.isToJudge = true;
        this.#pack(entry, { ...told, packed: undefined, isPacked: false, round: this.#round });
      }
      return snapshot.row;
    }
    const { row, nodeIds, indexes, lastReports, headOf, heads, columns } = snapshot.fleet;
    const known = new Map([...this.#entries.keys()].map((nodeId) => [nodeId, nodeId]));
    this.#entries.clear();
    this.#freeIndexes.length = 0;
    this.#told = new ToldValues(columns);
    const shared = heads.map((head) => this.#told.share(head));
    const taken = new Uint8Array(indexes.reduce((most, index) => Math.max(most, index + 1), 0));
    this.#indexes = taken.length;
    this.#beats.reserve(this.#indexes);
    for (const [place, written] of nodeIds.entries()) {
      // Who is known already is in memory with its id.
      const nodeId = known.get(written) ?? written;
      const index = indexes[place]!;
      taken[index] = 1;
      const head = shared[headOf[place]!]!;
      this.#entries.set(nodeId, {
        nodeId,
        index,
        head,
        live: undefined,
        lastReportUnixMs: lastReports[place]!,
        factsVersion: 0,
        health: NEVER_SEEN,
        isToJudge: true,
      });
    }
    for (const [index, isTaken] of taken.entries()) if (isTaken === 0) this.#freeIndexes.push(index);
    for (const nodeId of known.keys()) this.#entry(nodeId);
    return row;
  }

  /** How far the node's outbox was taken. @param epoch hex */
  takenOf(nodeId: string, epoch: string): number {
    const entry = this.#entries.get(nodeId);
    if (entry === undefined) return 0;
    return this.#toldOf(entry).cursors.find((cursor) => cursor.epoch === epoch)?.seq ?? 0;
  }

  /** The reports behind them are lost: every outbox starts from nothing. */
  forgetCursors(): void {
    for (const entry of this.#entries.values()) {
      const told = this.#toldOf(entry);
      this.#pack(entry, { reported: told.reported, cursors: [], packed: undefined, isPacked: false, round: this.#round });
      entry.live = undefined;
    }
  }

  #beat({ nodeId, index, head }: Entry): Beat {
    const at = this.#beats.atMs[index]!;
    return {
      nodeId,
      atMs: Number.isNaN(at) ? undefined : at,
      brokerMs: this.#beats.brokerMs[index]!,
      awakeMs: this.#beats.awakeMs[index]!,
      flags: this.#beats.flags[index]!,
      head,
    };
  }

  #toldOf({ index, head, live }: Entry): Told {
    if (live !== undefined) return live;
    return this.#told.has(index) ? this.#told.unpack(index, head) : NOTHING;
  }

  #pack({ index }: Entry, live: Live): void {
    this.#told.pack(index, live, live.packed);
    live.packed = live.reported;
    live.isPacked = true;
  }

  #entry(nodeId: string): Entry {
    const known = this.#entries.get(nodeId);
    if (known !== undefined) return known;
    const index = this.#freeIndexes.pop() ?? this.#indexes++;
    this.#beats.reserve(this.#indexes);
    const entry: Entry = {
      nodeId,
      index,
      head: this.#nothing,
      live: undefined,
      lastReportUnixMs: 0,
      factsVersion: 0,
      health: NEVER_SEEN,
      isToJudge: true,
    };
    this.#entries.set(nodeId, entry);
    return entry;
  }

  #observed(entry: Entry): ObservedNode {
    const { index, head, lastReportUnixMs, health } = entry;
    const atMs = this.#beats.atMs[index]!;
    const isSeen = !Number.isNaN(atMs);
    const beat = {
      beatGeneration: this.#beats.generation[index]!,
      beatFlags: this.#beats.flags[index]!,
      lastBeatAtMs: isSeen ? atMs : undefined,
      lastBeatBrokerMs: isSeen ? this.#beats.brokerMs[index]! : undefined,
      factsVersion: entry.factsVersion,
    };
    return new ObservedEntry(entry.nodeId, head, beat, lastReportUnixMs, health, this.#partsOf(entry));
  }

  #partsOf({ index, head, live }: Entry): ObservedParts {
    if (live !== undefined) return live.reported;
    return this.#told.has(index) ? this.#told.lazily(index, head) : nothingReported;
  }
}
