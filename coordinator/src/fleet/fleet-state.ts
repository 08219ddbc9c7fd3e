/** The fleet as observed, in memory: beats in columns, reports folded per node. Filled by ingest and observer, read through FleetView. */
import type { ReportBatch } from "@drover/proto";
import type { HeartbeatMessage } from "../bus/bus.ts";
import { NodeMap, NodeNumbers } from "../resources/node-map.ts";
import type { FleetView, Health, ObservedNode } from "./fleet.ts";
import { FleetColumns } from "./fleet-columns.ts";
import { type Folded, fold, nothingReported, type ReportedNode } from "./fold.ts";
import { ObservedEntry, type ObservedParts } from "./observed-entry.ts";
import { type BeatFields, readBeat } from "./read-beat.ts";
import { decodeSnapshot, encodeSnapshot } from "./snapshot.ts";
import { type Head, type Told, ToldValues } from "./told-values.ts";

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

/** More than there are reasons; beyond that somebody invents them. */
const MAX_HEALTHS = 10_000;

export class FleetState implements FleetView {
  readonly #numbers: NodeNumbers;
  /** By node id; and the ids by index, "" where there is no node. */
  readonly #indexes: NodeMap<number>;
  readonly #nodeIds: string[] = [];
  readonly #columns = new FleetColumns();
  #heads: Head[] = [];
  #healths: Health[] = [];
  /** What was reported, as objects, by those that did so lately: of others it is packed, or there is nothing. */
  readonly #live = new Map<number, Live>();
  readonly #sharedHealths = new Map<string, Health>();
  readonly #fields: BeatFields = { seq: 0, observedGeneration: 0, stateDigest: 0, flags: 0 };
  #freeIndexes: number[] = [];
  readonly #listeners = new Set<(nodeIds: readonly string[]) => void>();
  #told = new ToldValues();
  readonly #nothing = this.#told.headOf(nothingReported);
  /** Snapshots made. */
  #round = 0;

  /** @param numbers shared with others that hold something for each node */
  constructor(numbers = new NodeNumbers()) {
    this.#numbers = numbers;
    this.#indexes = new NodeMap(numbers);
  }

  get size(): number {
    return this.#indexes.size;
  }

  node(nodeId: string): ObservedNode | undefined {
    const index = this.#indexes.get(nodeId);
    return index === undefined ? undefined : this.#observed(index);
  }

  *nodes(): Iterable<ObservedNode> {
    for (const index of this.#indexes.values()) yield this.#observed(index);
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
    this.#index(nodeId);
  }

  /** The node was deleted. */
  forget(nodeId: string): void {
    const index = this.#indexes.get(nodeId);
    if (index === undefined) return;
    this.#indexes.delete(nodeId);
    this.#nodeIds[index] = "";
    this.#live.delete(index);
    this.#told.delete(index);
    this.#freeIndexes.push(index);
  }

  /**
   * Folds one beat. One that does not decode, or that a new consumer shows once more, changes nothing.
   * @param nowMs monotonic; @param awakeMs the observer's time awake and caught up
   */
  foldBeat(nodeId: string, message: Pick<HeartbeatMessage, "payload" | "brokerMs">, nowMs: number, awakeMs: number): void {
    const beat = this.#fields;
    if (!readBeat(message.payload, beat)) return;
    const index = this.#index(nodeId);
    const columns = this.#columns;
    if (message.brokerMs <= columns.brokerMs[index]! && columns.seq[index] === beat.seq) return;
    columns.atMs[index] = nowMs;
    columns.brokerMs[index] = message.brokerMs;
    columns.awakeMs[index] = awakeMs;
    columns.generation[index] = beat.observedGeneration;
    columns.seq[index] = beat.seq;
    columns.stateDigest[index] = beat.stateDigest;
    if (columns.flags[index] !== beat.flags) columns.isToJudge[index] = 1;
    columns.flags[index] = beat.flags;
  }

  /** Folds one batch of the node. @param digest of its bytes; @param atUnixMs when it was logged */
  foldReport(nodeId: string, batch: ReportBatch, digest: number, atUnixMs: number): Folded {
    const index = this.#index(nodeId);
    const live = this.#live.get(index);
    const before = live ?? this.#toldOf(index);
    const folded = fold(before.reported, before.cursors, batch, batch.outboxEpoch.toString("hex"), digest, atUnixMs);
    if (folded.cursors !== before.cursors) {
      const { reported, cursors } = folded;
      const packed = live === undefined ? (this.#told.has(index) ? before.reported : undefined) : live.packed;
      this.#live.set(index, { reported, cursors, packed, isPacked: false, round: this.#round });
      if (reported.facts !== before.reported.facts) this.#columns.factsVersion[index]! += 1;
      if (reported !== before.reported) this.#heads[index] = this.#told.headOf(reported);
      this.#columns.lastReportUnixMs[index] = atUnixMs;
      this.#columns.isToJudge[index] = 1;
    }
    return folded;
  }

  /** @returns whether the verdict changed */
  setHealth(nodeId: string, health: Health): boolean {
    const index = this.#indexes.get(nodeId);
    if (index === undefined) return false;
    const before = this.#healths[index]!;
    if (before.verdict === health.verdict && before.reason === health.reason) return false;
    this.#healths[index] = this.#sharedHealth(health);
    return true;
  }

  *beats(): Iterable<Beat> {
    for (const index of this.#indexes.values()) yield this.#beat(index);
  }

  /**
   * All but those that are healthy, were heard within quietMs by every view, and have told nothing else since they were called so.
   * @param now monotonic; the broker's newest stamp; the observer's time awake and caught up
   */
  *beatsToJudge(now: { readonly nowMs: number; readonly brokerMs: number; readonly awakeMs: number }, quietMs: number): Iterable<Beat> {
    const { atMs, brokerMs, awakeMs, isToJudge } = this.#columns;
    for (const index of this.#indexes.values()) {
      const isCalm =
        isToJudge[index] === 0 &&
        this.#healths[index]!.verdict === "healthy" &&
        now.nowMs - atMs[index]! <= quietMs &&
        now.brokerMs - brokerMs[index]! <= quietMs &&
        now.awakeMs - awakeMs[index]! <= quietMs;
      if (isCalm) continue;
      isToJudge[index] = 0;
      yield this.#beat(index);
    }
  }

  /** Does most of a snapshot's work in turns, so that the loop is not held up; what changes meanwhile is packed by snapshot() itself. */
  async encodeAhead(): Promise<void> {
    let packed = 0;
    for (const [index, live] of this.#live) {
      if (live.isPacked) continue;
      this.#pack(index, live);
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
    const { size } = this;
    const fleet = {
      row,
      nodeIds: [] as string[],
      indexes: new Uint32Array(size),
      lastReports: new Float64Array(size),
      headOf: new Uint32Array(size),
    };
    for (const [index, live] of this.#live) {
      if (!live.isPacked) this.#pack(index, live);
      if (live.round < this.#round) this.#live.delete(index);
    }
    const heads = new Map<Head, number>();
    for (const [nodeId, index] of this.#indexes) {
      const head = this.#heads[index]!;
      const place = fleet.nodeIds.push(nodeId) - 1;
      fleet.indexes[place] = index;
      fleet.lastReports[place] = this.#columns.lastReportUnixMs[index]!;
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
        const index = this.#index(nodeId);
        // As of one that was written before a field was there.
        const told = { reported: { ...nothingReported, ...reported }, cursors };
        this.#heads[index] = this.#told.headOf(told.reported);
        this.#columns.lastReportUnixMs[index] = lastReportUnixMs;
        this.#pack(index, { ...told, packed: undefined, isPacked: false, round: this.#round });
      }
      return snapshot.row;
    }
    const { row, nodeIds, indexes, lastReports, headOf, heads, columns } = snapshot.fleet;
    const known = [...this.#indexes.keys()];
    this.#indexes.clear();
    this.#told = new ToldValues(columns);
    const shared = heads.map((head) => this.#told.share(head));
    const count = indexes.reduce((most, index) => Math.max(most, index + 1), 0);
    this.#nodeIds.length = 0;
    this.#heads = [];
    this.#healths = [];
    for (let index = 0; index < count; index += 1) this.#clear(index);
    for (const [place, nodeId] of nodeIds.entries()) {
      const index = indexes[place]!;
      this.#indexes.set(nodeId, index);
      this.#nodeIds[index] = this.#numbers.same(nodeId);
      this.#heads[index] = shared[headOf[place]!]!;
      this.#columns.lastReportUnixMs[index] = lastReports[place]!;
    }
    this.#freeIndexes = this.#nodeIds.flatMap((nodeId, index) => (nodeId === "" ? [index] : []));
    for (const nodeId of known) this.#index(nodeId);
    return row;
  }

  /** How far the node's outbox was taken. @param epoch hex */
  takenOf(nodeId: string, epoch: string): number {
    const index = this.#indexes.get(nodeId);
    if (index === undefined) return 0;
    return this.#toldOf(index).cursors.find((cursor) => cursor.epoch === epoch)?.seq ?? 0;
  }

  /** The reports behind them are lost: every outbox starts from nothing. */
  forgetCursors(): void {
    for (const index of this.#indexes.values()) {
      const told = this.#toldOf(index);
      this.#pack(index, { reported: told.reported, cursors: [], packed: undefined, isPacked: false, round: this.#round });
    }
    this.#live.clear();
  }

  #beat(index: number): Beat {
    const at = this.#columns.atMs[index]!;
    return {
      nodeId: this.#nodeIds[index]!,
      atMs: Number.isNaN(at) ? undefined : at,
      brokerMs: this.#columns.brokerMs[index]!,
      awakeMs: this.#columns.awakeMs[index]!,
      flags: this.#columns.flags[index]!,
      head: this.#heads[index]!,
    };
  }

  #toldOf(index: number): Told {
    const live = this.#live.get(index);
    if (live !== undefined) return live;
    return this.#told.has(index) ? this.#told.unpack(index, this.#heads[index]!) : NOTHING;
  }

  #pack(index: number, live: Live): void {
    this.#told.pack(index, live, live.packed);
    live.packed = live.reported;
    live.isPacked = true;
  }

  #sharedHealth(health: Health): Health {
    const key = `${health.verdict} ${health.reason}`;
    const known = this.#sharedHealths.get(key);
    if (known !== undefined) return known;
    if (this.#sharedHealths.size >= MAX_HEALTHS) this.#sharedHealths.clear();
    this.#sharedHealths.set(key, health);
    return health;
  }

  /** The node's; a new one when it is not known yet. */
  #index(nodeId: string): number {
    const known = this.#indexes.get(nodeId);
    if (known !== undefined) return known;
    const index = this.#freeIndexes.pop() ?? this.#nodeIds.length;
    this.#clear(index);
    this.#indexes.set(nodeId, index);
    this.#nodeIds[index] = this.#numbers.same(nodeId);
    return index;
  }

  /** As of a node that has told nothing. */
  #clear(index: number): void {
    this.#nodeIds[index] = "";
    this.#heads[index] = this.#nothing;
    this.#healths[index] = NEVER_SEEN;
    this.#columns.clear(index);
  }

  #observed(index: number): ObservedNode {
    const { atMs, brokerMs, generation, flags, factsVersion, lastReportUnixMs } = this.#columns;
    const beatAtMs = atMs[index]!;
    const isSeen = !Number.isNaN(beatAtMs);
    const head = this.#heads[index]!;
    const beat = {
      beatGeneration: generation[index]!,
      beatFlags: flags[index]!,
      lastBeatAtMs: isSeen ? beatAtMs : undefined,
      lastBeatBrokerMs: isSeen ? brokerMs[index]! : undefined,
      factsVersion: factsVersion[index]!,
    };
    return new ObservedEntry(
      this.#nodeIds[index]!,
      head,
      beat,
      lastReportUnixMs[index]!,
      this.#healths[index]!,
      this.#partsOf(index, head),
    );
  }

  #partsOf(index: number, head: Head): ObservedParts {
    const live = this.#live.get(index);
    if (live !== undefined) return live.reported;
    return this.#told.has(index) ? this.#told.lazily(index, head) : nothingReported;
  }
}
