/**
 * The bus in memory, for tests and the simulation: one broker, the coordinator's side and each node's side, and faults to order.
 * Behaves as NATS does with the two streams: one beat per node, reports in order with limits, hints that may vanish.
 */
import { type Clock, type Random, seededRandom } from "@drover/lifecycle";
import { type Ack, type Budget, Heartbeat, shardOf, ToNode, type Wake } from "@drover/proto";
import type { AgentPort } from "./agent-port.ts";
import type { Bus, HeartbeatMessage, ReportHandler, ReportMessage, ReportPosition } from "./bus.ts";

/** May be changed at any time; applies to what is published from then on, in both directions. */
export interface MemoryFaults {
  /** Share of messages that vanish, 0 to 1. */
  dropShare: number;
  /** Share of messages delivered twice. */
  duplicateShare: number;
  /** Milliseconds from publish to delivery; unequal delays put messages out of order. */
  delayMs: () => number;
}

const HEARTBEAT_MAX_AGE_MS = 600_000;
const REPORT_MAX_AGE_MS = 86_400_000;
const MAX_REPORTS_PER_NODE = 1_000;
const REPORT_BATCH = 500;
const HEARTBEAT_BATCH = 2_000;
const SENTINEL = "";

export function memoryBus(clock: Clock, random: Random = seededRandom(1)): MemoryBus {
  return new MemoryBus(clock, random);
}

export class MemoryBus implements Bus {
  readonly faults: MemoryFaults = { dropShare: 0, duplicateShare: 0, delayMs: () => 1 };
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #ports = new Map<string, MemoryAgentPort>();
  readonly #revoked = new Set<string>();
  readonly #changed = new Wakeups();
  #isUp = true;
  #lives = 1;
  /** The order of arrival of each node's newest beat; SENTINEL is our own. */
  #beats = new Map<string, number>();
  #beatOrder = 0;
  /** The same by order, so that a consumer that is nearly up to date does not walk all. */
  #beatsByOrder = new Map<number, HeartbeatMessage>();
  #reports: (ReportMessage & { readonly atMs: number })[] = [];
  #reportsPerNode = new Map<string, number>();
  #lastSequence = 0;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  get isConnected(): boolean {
    return this.#isUp;
  }

  /** The node's side. @param publicKey what revokeUser names; default the node's id */
  agentPort(nodeId: string, publicKey: string = nodeId): AgentPort {
    const port = new MemoryAgentPort(this, nodeId, publicKey);
    this.#ports.set(nodeId, port);
    return port;
  }

  /** All that the broker kept is gone, as when NATS loses its data directory. */
  loseAll(): void {
    this.#lives += 1;
    this.#beats = new Map();
    this.#beatsByOrder = new Map();
    this.#reports = [];
    this.#reportsPerNode = new Map();
    this.#lastSequence = 0;
    this.#changed.wakeAll();
  }

  /** The broker is away, or back: for everybody. */
  setUp(isUp: boolean): void {
    if (this.#isUp === isUp) return;
    this.#isUp = isUp;
    for (const port of this.#ports.values()) port.noticeLink();
    this.#changed.wakeAll();
  }

  mayConnect(publicKey: string): boolean {
    return this.#isUp && !this.#revoked.has(publicKey);
  }

  wake(nodeId: string, wake: Wake): void {
    this.#toNode(nodeId, { body: { $case: "wake", value: wake } });
  }

  acknowledge(nodeId: string, ack: Ack): void {
    this.#toNode(nodeId, { body: { $case: "ack", value: ack } });
  }

  grantBudget(shard: number, budget: Budget): void {
    for (const port of this.#ports.values()) {
      if (port.shard === shard) this.transmit(() => port.receiveBudget(budget));
    }
  }

  publishSentinel(sequence: number): void {
    this.takeHeartbeat(SENTINEL, Heartbeat.encode(Heartbeat.fromPartial({ seq: sequence })).finish());
  }

  takeHeartbeat(nodeId: string, payload: Uint8Array): void {
    const copy = Buffer.from(payload);
    this.transmit(() => {
      this.#beatsByOrder.delete(this.#beats.get(nodeId) ?? 0);
      const order = ++this.#beatOrder;
      this.#beats.set(nodeId, order);
      this.#beatsByOrder.set(order, { nodeId: nodeId === SENTINEL ? undefined : nodeId, payload: copy, brokerMs: this.#clock.now() });
      this.#changed.wakeAll();
    });
  }

  takeReport(nodeId: string, payload: Uint8Array): void {
    const copy = Buffer.from(payload);
    this.transmit(() => {
      const count = (this.#reportsPerNode.get(nodeId) ?? 0) + 1;
      if (count > MAX_REPORTS_PER_NODE) {
        const oldest = this.#reports.findIndex((report) => report.nodeId === nodeId);
        this.#reports.splice(oldest, 1);
      } else this.#reportsPerNode.set(nodeId, count);
      this.#reports.push({ nodeId, payload: copy, sequence: ++this.#lastSequence, atMs: this.#clock.now() });
      this.#changed.wakeAll();
    });
  }

  async consumeHeartbeats(handle: (beats: readonly HeartbeatMessage[]) => void | Promise<void>, signal: AbortSignal): Promise<void> {
    let seen = 0;
    let life = this.#lives;
    while (!signal.aborted) {
      if (life !== this.#lives) [life, seen] = [this.#lives, 0];
      const fresh: HeartbeatMessage[] = [];
      if (this.#isUp) {
        const oldestMs = this.#clock.now() - HEARTBEAT_MAX_AGE_MS;
        for (const beat of this.#beatsAfter(seen)) if (beat.brokerMs >= oldestMs) fresh.push(beat);
        seen = this.#beatOrder;
      }
      if (fresh.length === 0) await this.#changed.next(signal);
      for (let start = 0; start < fresh.length && !signal.aborted; start += HEARTBEAT_BATCH) {
        await handle(fresh.slice(start, start + HEARTBEAT_BATCH));
      }
    }
  }

  async consumeReports(after: ReportPosition | undefined, handle: ReportHandler, signal: AbortSignal): Promise<void> {
    let position = after;
    while (!signal.aborted) {
      const incarnation = `memory-${this.#lives}`;
      if (position?.incarnation !== incarnation || position.sequence > this.#lastSequence) position = { incarnation, sequence: 0 };
      const messages = this.#isUp ? this.#reportsAfter(position.sequence) : [];
      if (messages.length === 0) {
        await this.#changed.next(signal);
        continue;
      }
      const lastSequence = messages.at(-1)!.sequence;
      const afterAck = await handle({ incarnation, firstSequence: messages[0]!.sequence, lastSequence, messages });
      position = { incarnation, sequence: lastSequence };
      afterAck?.();
    }
  }

  async roundTripMs(): Promise<number> {
    if (!this.#isUp) throw new Error("no connection to the bus");
    return this.faults.delayMs();
  }

  async revokeUser(publicKey: string): Promise<void> {
    this.#revoked.add(publicKey);
    for (const port of this.#ports.values()) port.noticeLink();
  }

  /** Delivers later, twice, or never, as the faults have it. */
  transmit(deliver: () => void): void {
    if (!this.#isUp) return;
    // With a fault off no random number is drawn, so that switching one on does not shift the others' sequence.
    if (this.faults.dropShare > 0 && this.#random.unit() < this.faults.dropShare) return;
    const times = this.faults.duplicateShare > 0 && this.#random.unit() < this.faults.duplicateShare ? 2 : 1;
    for (let time = 0; time < times; time++) this.#clock.setTimer(this.faults.delayMs(), deliver);
  }

  /** In order of arrival. */
  #beatsAfter(seen: number): readonly HeartbeatMessage[] {
    if (this.#beatOrder - seen > this.#beatsByOrder.size)
      return [...this.#beatsByOrder].flatMap(([order, beat]) => (order > seen ? [beat] : []));
    const beats: HeartbeatMessage[] = [];
    for (let order = seen + 1; order <= this.#beatOrder; order++) {
      const beat = this.#beatsByOrder.get(order);
      if (beat !== undefined) beats.push(beat);
    }
    return beats;
  }

  #toNode(nodeId: string, message: ToNode): void {
    const bytes = ToNode.encode(message).finish();
    this.transmit(() => this.#ports.get(nodeId)?.receive(ToNode.decode(bytes)));
  }

  #reportsAfter(sequence: number): ReportMessage[] {
    const oldestMs = this.#clock.now() - REPORT_MAX_AGE_MS;
    while (this.#reports[0] !== undefined && this.#reports[0].atMs < oldestMs) {
      const { nodeId } = this.#reports.shift()!;
      this.#reportsPerNode.set(nodeId, (this.#reportsPerNode.get(nodeId) ?? 1) - 1);
    }
    let low = 0;
    let high = this.#reports.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#reports[middle]!.sequence <= sequence) low = middle + 1;
      else high = middle;
    }
    return this.#reports.slice(low, low + REPORT_BATCH).map(({ nodeId, payload, sequence }) => ({ nodeId, payload, sequence }));
  }
}

class MemoryAgentPort implements AgentPort {
  readonly shard: number;
  readonly #bus: MemoryBus;
  readonly #nodeId: string;
  readonly #publicKey: string;
  #isRunning = false;
  #wasConnected = false;
  #listenToNode: (message: ToNode) => void = () => {};
  #listenBudget: (budget: Budget) => void = () => {};
  #listenConnected: () => void = () => {};

  constructor(bus: MemoryBus, nodeId: string, publicKey: string) {
    this.#bus = bus;
    this.#nodeId = nodeId;
    this.shard = shardOf(nodeId);
    this.#publicKey = publicKey;
  }

  get isConnected(): boolean {
    return this.#isRunning && this.#bus.mayConnect(this.#publicKey);
  }

  publishHeartbeat(beat: Uint8Array): void {
    if (this.isConnected) this.#bus.takeHeartbeat(this.#nodeId, beat);
  }

  publishReport(batch: Uint8Array): boolean {
    if (!this.isConnected) return false;
    this.#bus.takeReport(this.#nodeId, batch);
    return true;
  }

  onToNode(listen: (message: ToNode) => void): void {
    this.#listenToNode = listen;
  }

  onBudget(listen: (budget: Budget) => void): void {
    this.#listenBudget = listen;
  }

  onConnected(listen: () => void): void {
    this.#listenConnected = listen;
  }

  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#isRunning = true;
    this.noticeLink();
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#isRunning = false;
    this.#wasConnected = false;
  }

  noticeLink(): void {
    const before = this.#wasConnected;
    this.#wasConnected = this.isConnected;
    if (this.#wasConnected && !before) this.#listenConnected();
  }

  receive(message: ToNode): void {
    if (this.isConnected) this.#listenToNode(message);
  }

  receiveBudget(budget: Budget): void {
    if (this.isConnected) this.#listenBudget(budget);
  }
}

/** Consumers that wait for the next change. */
class Wakeups {
  #waiting: (() => void)[] = [];

  wakeAll(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Resolves at the next change, or when the signal aborts. */
  next(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener("abort", wake);
        resolve();
      };
      signal.addEventListener("abort", wake);
      this.#waiting.push(wake);
    });
  }
}
