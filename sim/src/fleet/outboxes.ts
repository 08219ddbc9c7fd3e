/**
 * The agents' outboxes: sealed batches until they are acknowledged, paced and sent again as the agent's own outbox does it (report/outbox.ts and
 * report/pacing.ts there), without its disk. Only agents that have something to tell cost memory.
 */
import { supersededBy } from "@drover/agent";
import { jittered, type Random } from "@drover/lifecycle";
import type { Ack, Event } from "@drover/proto";
import type { AgentColumns } from "./agent-columns.ts";
import { batchOf } from "./agent-events.ts";
import { outboxEpochOf } from "./agent-identity.ts";
import type { FleetBus } from "./ports.ts";
import type { AgentCounts } from "../sim-port.ts";

const BASE_INTERVAL_MS = 2_000;
const MAX_INTERVAL_MS = 600_000;
const MAX_SLOWDOWN = 6;
const MIN_RESEND_MS = 6_000;
const MAX_RESEND_MS = 300_000;
const RESEND_SOON_MS = 1_000;
const RESEND_AFTER_ACKS = 2;
const MAX_ACK_MS = 60_000;
const HELD_AT_MOST_MS = 60_000;
const LOWER_ACKS_MS = 2_500;
const MAX_EVENTS = 64;
const WINDOW_BATCHES = 256;

interface Held {
  pending: Event[];
  /** Sealed and not acknowledged, from ackedSeq + 1 on. */
  batches: Uint8Array[];
  /** Of batches, how many were published. */
  published: number;
  /** Whether the timer is for sending what is sealed or pending, or for sending again. */
  sealAtMs: number;
  isSealHeld: boolean;
  resendAtMs: number;
  isResendLate: boolean;
  /** Infinity: no ack is awaited. */
  awaitedSinceMs: number;
  lowerSinceMs: number;
}

export interface OutboxParts {
  readonly seed: number;
  readonly first: number;
  readonly columns: AgentColumns;
  readonly bus: FleetBus;
  readonly counts: AgentCounts;
  readonly random: Random;
  /** Arms the agent's report timer; Infinity: none. */
  readonly arm: (agent: number, atMs: number) => void;
  readonly nowMs: () => number;
  /** The coordinator has lost what it had acknowledged: tell all that is known. */
  readonly onLost: (agent: number) => void;
}

export class Outboxes {
  readonly #parts: OutboxParts;
  readonly #held = new Map<number, Held>();
  /** Epochs that were left, with the highest seq acknowledged in them. */
  readonly #left: { readonly agent: number; readonly life: number; readonly sealed: number; readonly acked: number }[] = [];

  constructor(parts: OutboxParts) {
    this.#parts = parts;
  }

  /** Agents with something that is not acknowledged. */
  get unacknowledgedAgents(): number {
    return this.#held.size;
  }

  epochOf(agent: number, life = this.#parts.columns.outbox[agent]!): Buffer {
    const { seed, first, columns } = this.#parts;
    return outboxEpochOf(seed, first + columns.node[agent]!, life);
  }

  /** Results: sealed at once, and sent at once unless acks stay away. */
  record(agent: number, events: readonly Event[]): void {
    const held = this.#of(agent);
    take(held, events);
    this.#seal(agent, held);
    this.#publish(agent, held);
    this.#arm(agent, held);
  }

  /** Routine: sealed and sent within one interval, or when what was sent is acknowledged. */
  note(agent: number, events: readonly Event[]): void {
    const held = this.#of(agent);
    take(held, events);
    if (held.pending.length >= MAX_EVENTS) {
      this.#seal(agent, held);
      this.#publish(agent, held);
    } else if (held.sealAtMs === Infinity) held.sealAtMs = this.#parts.nowMs() + this.#intervalMs(agent);
    this.#arm(agent, held);
  }

  /** The agent's report timer. */
  due(agent: number): void {
    const held = this.#held.get(agent);
    if (held === undefined) return;
    const { columns, nowMs } = this.#parts;
    const now = nowMs() + 1;
    if (held.sealAtMs <= now && !held.isSealHeld && held.published > 0 && columns.isConnected[agent] === 1) {
      held.isSealHeld = true;
      held.sealAtMs = now + HELD_AT_MOST_MS;
    }
    if (held.sealAtMs <= now) {
      this.#seal(agent, held);
      this.#publish(agent, held);
    }
    if (held.resendAtMs <= now) {
      held.resendAtMs = Infinity;
      if (held.isResendLate && columns.isConnected[agent] === 1) {
        columns.slowdown[agent] = Math.min(MAX_SLOWDOWN, columns.slowdown[agent]! + 1);
      }
      held.published = 0;
      this.#publish(agent, held);
    }
    this.#arm(agent, held);
  }

  takeAck(agent: number, { outboxEpoch, seq }: Ack): void {
    const { columns, counts, nowMs } = this.#parts;
    if (!this.epochOf(agent).equals(outboxEpoch)) return;
    if (seq > columns.sealedSeq[agent]!) return this.#leave(agent);
    const held = this.#held.get(agent);
    const acked = columns.ackedSeq[agent]!;
    if (seq < acked) {
      const known = held ?? this.#of(agent);
      if (known.lowerSinceMs === Infinity) known.lowerSinceMs = nowMs();
      if (nowMs() - known.lowerSinceMs >= LOWER_ACKS_MS) return this.#leave(agent);
      if (known.batches.length > 0) this.#resendSoon(agent, known);
      return;
    }
    if (held === undefined) return;
    held.lowerSinceMs = Infinity;
    if (seq === acked) {
      if (held.published > 0) this.#resendSoon(agent, held);
      else if (held.batches.length === 0 && held.pending.length === 0) this.#held.delete(agent);
      return;
    }
    counts.reportsAcknowledged += seq - acked;
    columns.ackedSeq[agent] = seq;
    held.batches.splice(0, seq - acked);
    held.published = Math.max(0, held.published - (seq - acked));
    columns.slowdown[agent] = Math.max(0, columns.slowdown[agent]! - 1);
    columns.lastAckMs[agent] = Math.min(MAX_ACK_MS, nowMs() - Math.min(nowMs(), held.awaitedSinceMs));
    held.awaitedSinceMs = Infinity;
    held.resendAtMs = Infinity;
    if (held.published === 0 && held.isSealHeld) this.#seal(agent, held);
    this.#publish(agent, held);
    if (held.batches.length === 0 && held.pending.length === 0) {
      this.#held.delete(agent);
      this.#parts.arm(agent, Infinity);
    } else this.#arm(agent, held);
  }

  /** What was published around an outage may be lost without an error. */
  connected(agent: number): void {
    const held = this.#held.get(agent);
    if (held !== undefined && held.batches.length > 0) this.#resendSoon(agent, held);
  }

  /** Per (agent, outbox life): what was sealed, and what was acknowledged. Not of nodes with clones: there nobody knows whose seq was taken. */
  *ledger(): Generator<{ readonly nodeId: string; readonly epoch: string; readonly sealed: number; readonly acked: number }> {
    const { columns } = this.#parts;
    const cloned = new Set(columns.node.subarray(columns.agents, columns.nodeIds.length));
    for (const { agent, life, sealed, acked } of this.#left) {
      if (cloned.has(columns.node[agent]!)) continue;
      yield { nodeId: columns.nodeIds[agent]!, epoch: this.epochOf(agent, life).toString("hex"), sealed, acked };
    }
    for (let agent = 0; agent < columns.agents; agent += 1) {
      const [sealed, acked] = [columns.sealedSeq[agent]!, columns.ackedSeq[agent]!];
      if (sealed > 0 && !cloned.has(agent))
        yield { nodeId: columns.nodeIds[agent]!, epoch: this.epochOf(agent).toString("hex"), sealed, acked };
    }
  }

  #of(agent: number): Held {
    let held = this.#held.get(agent);
    if (held === undefined) {
      const none = Infinity;
      const times = { sealAtMs: none, resendAtMs: none, awaitedSinceMs: none, lowerSinceMs: none };
      held = { pending: [], batches: [], published: 0, isSealHeld: false, isResendLate: false, ...times };
      this.#held.set(agent, held);
    }
    return held;
  }

  #intervalMs(agent: number): number {
    const { columns } = this.#parts;
    const least = columns.reportIntervalMsOfShard[columns.shard[agent]!]!;
    return Math.min(MAX_INTERVAL_MS, Math.max(BASE_INTERVAL_MS * 2 ** columns.slowdown[agent]!, least));
  }

  #seal(agent: number, held: Held): void {
    const { columns, counts } = this.#parts;
    while (held.pending.length > 0) {
      const seq = columns.sealedSeq[agent]! + 1;
      columns.sealedSeq[agent] = seq;
      held.batches.push(batchOf(columns.nodeIds[agent]!, this.epochOf(agent), seq, held.pending.splice(0, MAX_EVENTS)));
      counts.reportsSealed += 1;
    }
    held.sealAtMs = Infinity;
    held.isSealHeld = false;
  }

  #publish(agent: number, held: Held): void {
    const { columns, bus, counts } = this.#parts;
    const isConnected = columns.isConnected[agent] === 1;
    if (held.batches.length > 0 && isConnected) held.awaitedSinceMs = Math.min(held.awaitedSinceMs, this.#parts.nowMs());
    if (held.batches.length > 0 && held.resendAtMs === Infinity) {
      const longMs = Math.max(MIN_RESEND_MS, 3 * this.#intervalMs(agent), RESEND_AFTER_ACKS * columns.lastAckMs[agent]!);
      this.#resendIn(held, Math.min(MAX_RESEND_MS, longMs), true);
    }
    if (!isConnected || columns.isSilent[agent] === 1) return;
    const end = Math.min(held.batches.length, WINDOW_BATCHES);
    for (; held.published < end; held.published += 1) {
      if (!bus.publishReport(agent, held.batches[held.published]!)) return;
      counts.reportsPublished += 1;
    }
  }

  #resendSoon(agent: number, held: Held): void {
    if (held.resendAtMs <= this.#parts.nowMs() + RESEND_SOON_MS) return;
    this.#resendIn(held, RESEND_SOON_MS, false);
    this.#arm(agent, held);
  }

  #resendIn(held: Held, ms: number, isLate: boolean): void {
    held.resendAtMs = this.#parts.nowMs() + jittered(this.#parts.random, ms, 0.3);
    held.isResendLate = isLate;
  }

  #arm(agent: number, held: Held): void {
    this.#parts.arm(agent, Math.min(held.sealAtMs, held.resendAtMs));
  }

  /** Nothing can go on in this epoch: what is not acknowledged goes into a new one, and all that is known is told again. */
  #leave(agent: number): void {
    const { columns } = this.#parts;
    const life = columns.outbox[agent]!;
    this.#left.push({ agent, life, sealed: columns.sealedSeq[agent]!, acked: columns.ackedSeq[agent]! });
    columns.outbox[agent] = life + 1;
    columns.sealedSeq[agent] = 0;
    columns.ackedSeq[agent] = 0;
    this.#held.delete(agent);
    this.#parts.onLost(agent);
  }
}

/** What changes again before it was sealed is told once. */
function take({ pending }: Held, events: readonly Event[]): void {
  for (const event of events) {
    const superseded = supersededBy(event, pending);
    if (superseded >= 0) pending.splice(superseded, 1);
    pending.push(event);
  }
}
