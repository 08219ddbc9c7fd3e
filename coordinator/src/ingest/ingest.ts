/**
 * From the bus into the log, and only then into the fleet: pull, log (one fsync), fold, ack to the stream, ack to the nodes.
 * The node's ack is what frees its outbox; it is never sent for what is not in the log.
 */
import { type Clock, jittered, type Log, type Random, sleep } from "@drover/lifecycle";
import type { Bus, ReportMessage, ReportPull } from "../bus/bus.ts";
import type { FleetState } from "../fleet/fleet-state.ts";
import type { Folded } from "../fleet/fold.ts";
import type { AuditEntry } from "../records.ts";
import { readBatch } from "../reportlog/report-count.ts";
import type { ReportLog } from "../reportlog/report-log.ts";
import { Backlog } from "./backlog.ts";
import { OnceInAWhile } from "./once-in-a-while.ts";
import type { SnapshotStore } from "./snapshot-store.ts";

export interface IngestOptions {
  readonly bus: Bus;
  readonly reportLog: ReportLog;
  readonly fleet: FleetState;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly snapshotStore: SnapshotStore;
  readonly audit: (entry: AuditEntry) => void;
  /** Enrolled and not revoked; reports of others are logged with their pull and otherwise passed over. */
  readonly knownNode: (nodeId: string) => boolean;
  /** How long reports are kept; default 7 days or 2 GiB. */
  readonly keep?: { readonly ageMs: number; readonly bytes: number };
}

export interface Ingest {
  /** Snapshot, then the log after it. Before run. */
  recover(): Promise<void>;
  run(signal: AbortSignal): Promise<void>;
  readonly counters: Readonly<IngestCounters>;
  /** Milliseconds until the reports that wait now will have been taken. */
  lagMs(): number;
}

export interface IngestCounters {
  pulls: number;
  folded: number;
  /** In the batches that were folded. */
  events: number;
  duplicates: number;
  gaps: number;
  clones: number;
  refused: number;
  /** Time spent on folding, in ms; what the log took is not in it. */
  foldMs: number;
}

const SNAPSHOT_EVERY_MS = 60_000;
const PRUNE_EVERY_SNAPSHOTS = 10;
const AUDIT_PAUSE_MS = 600_000;
/** Folding holds the event loop no longer than this and one report more: beats and sessions wait behind it. */
const FOLD_TURN_MS = 20;
const DEFAULT_KEEP = { ageMs: 7 * 86_400_000, bytes: 2 * 1024 ** 3 };

export function createIngest(options: IngestOptions): Ingest {
  return new ReportIngest(options);
}

class ReportIngest implements Ingest {
  readonly counters: IngestCounters = { pulls: 0, folded: 0, events: 0, duplicates: 0, gaps: 0, clones: 0, refused: 0, foldMs: 0 };
  readonly #options: IngestOptions;
  readonly #backlog = new Backlog();
  readonly #audited = new OnceInAWhile(AUDIT_PAUSE_MS);
  /** The last log row in the fleet. */
  #row = 0;
  #snapshotRow = 0;

  constructor(options: IngestOptions) {
    this.#options = options;
  }

  lagMs(): number {
    return this.#backlog.lagMs(this.#options.clock.monotonicMs());
  }

  async recover(): Promise<void> {
    const { fleet, log, snapshotStore } = this.#options;
    const bytes = await snapshotStore.read();
    this.#snapshotRow = bytes === undefined ? 0 : fleet.restore(bytes);
    if (bytes !== undefined && this.#snapshotRow === 0)
      log.warn({}, "the fleet snapshot could not be read; replaying the whole report log");
    const isLogLost = this.#snapshotRow > 0 && (await this.#hasLost(this.#snapshotRow));
    if (isLogLost) {
      // What nodes are shown to be stays; how far their outboxes were taken is true of the lost log only.
      log.error({ snapshotRow: this.#snapshotRow }, "the report log is older than the fleet snapshot: outboxes are asked for anew");
      fleet.forgetCursors();
      this.#snapshotRow = 0;
    }
    this.#row = this.#snapshotRow;
    await this.#replay();
    // Until it is replaced, the next start would take rows of the new log for old ones.
    if (isLogLost) await this.#snapshot();
    log.info({ snapshotRow: this.#snapshotRow, row: this.#row, nodes: fleet.size }, "fleet recovered");
  }

  async run(signal: AbortSignal): Promise<void> {
    const { bus, reportLog } = this.#options;
    const ended = new AbortController();
    const both = AbortSignal.any([signal, ended.signal]);
    const snapshots = this.#snapshotUntil(both);
    try {
      await Promise.race([bus.consumeReports(await reportLog.position(), (pull) => this.#take(pull), both), snapshots]);
    } finally {
      ended.abort();
      await snapshots.catch(() => undefined);
    }
    await this.#snapshot();
  }

  async #take(pull: ReportPull): Promise<() => void> {
    const { bus, clock, fleet, reportLog } = this.#options;
    const nowMs = clock.now();
    const arrivedMs = clock.monotonicMs();
    const row = await reportLog.append(pull, nowMs);
    this.counters.pulls += 1;
    const acks = new Map<string, NonNullable<Folded["ack"]> & { readonly nodeId: string }>();
    const changed = new Set<string>();
    let turnStartedMs = clock.monotonicMs();
    for (const message of pull.messages) {
      const turnMs = clock.monotonicMs() - turnStartedMs;
      if (turnMs > FOLD_TURN_MS) {
        this.counters.foldMs += turnMs;
        // A snapshot made meanwhile has the row before this pull: what of the pull is in it is a duplicate when it is replayed.
        await new Promise<void>((resolve) => setImmediate(resolve));
        turnStartedMs = clock.monotonicMs();
      }
      const folded = this.#fold(message, nowMs);
      if (folded === undefined) continue;
      // One ack per outbox and pull: they are cumulative.
      if (folded.ack !== undefined) acks.set(`${message.nodeId}/${folded.ack.epoch}`, { ...folded.ack, nodeId: message.nodeId });
      if (folded.outcome === "folded") changed.add(message.nodeId);
    }
    this.counters.foldMs += clock.monotonicMs() - turnStartedMs;
    this.#row = row;
    fleet.notify([...changed]);
    const endedMs = clock.monotonicMs();
    this.#backlog.pulled(pull.messages.length, pull.waiting ?? 0, endedMs - arrivedMs, endedMs);
    return () => {
      for (const { nodeId, epoch, seq } of acks.values()) bus.acknowledge(nodeId, { outboxEpoch: Buffer.from(epoch, "hex"), seq });
    };
  }

  /** undefined: refused. */
  #fold(message: ReportMessage, nowMs: number): Folded | undefined {
    const { fleet, knownNode } = this.#options;
    if (!knownNode(message.nodeId)) {
      this.counters.refused += 1;
      return undefined;
    }
    const reading = readBatch(message);
    if (!reading.ok) {
      this.counters.refused += 1;
      this.#audit(message.nodeId, "ReportRefused", reading.message);
      return undefined;
    }
    const folded = fleet.foldReport(message.nodeId, reading.batch, reading.digest, nowMs);
    switch (folded.outcome) {
      case "folded":
        this.counters.folded += 1;
        this.counters.events += reading.batch.events.length;
        break;
      case "duplicate":
        this.counters.duplicates += 1;
        break;
      case "gap":
        this.counters.gaps += 1;
        break;
      case "clone":
        this.counters.clones += 1;
        this.#audit(message.nodeId, "CloneSuspected", `report ${reading.batch.seq} came again with other contents; it is not acknowledged`);
        break;
      case "oldOutbox":
        this.counters.clones += 1;
        this.#audit(message.nodeId, "CloneSuspected", "reports of an outbox go on although another outbox has followed it");
        break;
    }
    return folded;
  }

  /** Pruning always leaves the last row, and all after a snapshot. */
  async #hasLost(row: number): Promise<boolean> {
    for await (const _ of this.#options.reportLog.read(row - 1)) return false;
    return true;
  }

  /** The same folding without acks and audit records: those were given when the row was written. */
  async #replay(): Promise<void> {
    const { fleet, knownNode, reportLog } = this.#options;
    for await (const { row, atMs, messages } of reportLog.read(this.#row)) {
      for (const message of messages) {
        const reading = knownNode(message.nodeId) ? readBatch(message) : undefined;
        if (reading?.ok) fleet.foldReport(message.nodeId, reading.batch, reading.digest, atMs);
      }
      this.#row = row;
    }
  }

  async #snapshotUntil(signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#options;
    for (let count = 1; !signal.aborted; count++) {
      try {
        await sleep(clock, jittered(random, SNAPSHOT_EVERY_MS, 0.1), signal);
      } catch {
        return;
      }
      await this.#snapshot();
      if (count % PRUNE_EVERY_SNAPSHOTS !== 0) continue;
      const keep = this.#options.keep ?? DEFAULT_KEEP;
      await this.#options.reportLog.prune({
        olderThanMs: clock.now() - keep.ageMs,
        maxBytes: keep.bytes,
        keepAfterRow: this.#snapshotRow,
      });
      log.debug({ row: this.#snapshotRow }, "report log pruned");
    }
  }

  async #snapshot(): Promise<void> {
    const { fleet, snapshotStore } = this.#options;
    await fleet.encodeAhead();
    // Row and fleet are read in one turn: they belong together.
    const row = this.#row;
    await snapshotStore.write(fleet.snapshot(row));
    this.#snapshotRow = row;
  }

  #audit(nodeId: string, action: string, message: string): void {
    const { clock, log } = this.#options;
    if (!this.#audited.may(`${nodeId}/${action}`, clock.monotonicMs())) return;
    log.warn({ node: nodeId, action }, "a report was not taken as it came");
    this.#options.audit({ atMs: clock.now(), actor: `node:${nodeId}`, action, target: `Node/${nodeId}`, outcome: "refused", message });
  }
}
