/**
 * The coordinator's eye on the fleet: consumes heartbeats, doubts itself first, and gives each node its verdict and each shard its budget.
 * A verdict is made only when a sentinel sent after waking has come back: what lies in the socket is read before anybody is called silent.
 */
import { type Clock, type Log, type Random, sleep } from "@drover/lifecycle";
import { type Budget, Heartbeat, SHARD_COUNT } from "@drover/proto";
import type { Bus, HeartbeatMessage } from "../bus/bus.ts";
import { CellWatch, type CellWatchOptions, type LookedAt } from "./cell-watch.ts";
import { suspectAfterMs } from "./cells.ts";
import type { Disruption } from "./disruption.ts";
import type { Beat, FleetState } from "./fleet-state.ts";
import { ReportDemand } from "./report-demand.ts";
import { defaultPace, graceMs, heartbeatIntervalMs, type HeartbeatPace, type NodeSigns, type ObserverState, verdict } from "./health.ts";

export interface ObserverOptions extends CellWatchOptions {
  readonly bus: Bus;
  readonly fleet: FleetState;
  /** Beats of others are passed over. */
  readonly knownNode: (nodeId: string) => boolean;
  /** Default: every 10 s, and 1,000 beats a second of all nodes together. */
  readonly pace?: HeartbeatPace | undefined;
  /** How far the taking of reports is behind, milliseconds; default: it never is. */
  readonly reportLagMs?: () => number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface Observer {
  run(signal: AbortSignal): Promise<void>;
  /** As of now; for metrics and doctor. */
  state(): ObserverState;
  /** What it has seen of itself since the start, and of the fleet as of the last verdicts. */
  census(): ObserverCensus;
  /** The disrupted cell that the node is in; undefined: all of its cells are calm. */
  disruptionOf(nodeId: string): Disruption | undefined;
  /** What the nodes of that shard may do as of now; for those that have not heard it. */
  budgetOf(shard: number): Budget;
  /** Nodes' beats taken since the start. */
  readonly beatCount: number;
}

export interface ObserverCensus {
  /** Of the last round trip to NATS; undefined: it failed, or none was made. */
  readonly roundTripMs: number | undefined;
  /** Monotonic time in which we were awake and had caught up. */
  readonly awakeMs: number;
  readonly lapses: number;
  readonly disruptedCells: number;
  /** "zone a", "rack 7". */
  readonly disruptedCellNames: readonly string[];
  /** Nodes silent for more than half the grace. */
  readonly suspects: number;
}

const TICK_MS = 1_000;
const MAX_LATENESS_MS = 1_000;
const MAX_STAMP_DRIFT_MS = 2_000;
const ROUND_TRIP_EVERY_MS = 5_000;
const MAX_ROUND_TRIP_MS = 1_000;
/** Whether another budget is due. */
const BUDGET_LOOK_MS = 20_000;
/** One that did not change is said again: each costs every node two packets. */
const BUDGET_AGAIN_MS = 600_000;
const BUDGET_SPREAD_MS = 30_000;
/** Where only reports are to come at another interval, from the next one on. */
const REPORTS_SPREAD_MS = 5_000;
/** A budget changes only when the wanted interval is this share away from the granted one. */
const BUDGET_HYSTERESIS = 0.2;
const MAX_BATCH_BYTES = 32 * 1024;
/** What a beat says of its node: its last plan failed. */
const FLAG_FAILED = 4;

export function createObserver(options: ObserverOptions): Observer {
  return new FleetObserver(options);
}

class FleetObserver implements Observer {
  readonly #options: ObserverOptions;
  /** Sentinels under way: sequence to monotonic time sent. */
  readonly #outstanding = new Map<number, number>();
  #sequence: number;
  readonly #pace: HeartbeatPace;
  /** Told with each budget: nodes that conversed with another start come again. */
  readonly #start: number;
  #intervalMs: number;
  readonly #demand = new ReportDemand();
  #before: { readonly intervalMs: number; readonly untilMs: number } | undefined;
  #lastLapseMs: number;
  #loopLagMs = 0;
  #isRoundTripFine = false;
  #roundTripMs: number | undefined;
  #lapses = 0;
  readonly #cells: CellWatch;
  #newestBrokerMs = 0;
  /** When the broker's clock was moved last, by ours and by its own: the broker has seen nobody for longer than since then. */
  #brokerEpoch = { atMs: -Infinity, brokerMs: 0 };
  /** Monotonic time in which we were awake and had caught up. */
  #awakeMs = 0;
  #beatCount = 0;
  #lastReturn: { readonly sentMs: number; readonly brokerMs: number } | undefined;

  constructor(options: ObserverOptions) {
    this.#options = options;
    this.#pace = options.pace ?? defaultPace;
    this.#intervalMs = heartbeatIntervalMs(0, this.#pace);
    this.#cells = new CellWatch(options);
    // Not from 1: the last sentinel of the coordinator before us is still in the stream.
    this.#sequence = Math.floor(options.random.unit() * 0x7fffffff);
    this.#start = this.#sequence + 1;
    this.#lastLapseMs = options.clock.monotonicMs();
  }

  async run(signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const both = AbortSignal.any([signal, ended.signal]);
    const parts = [
      this.#options.bus.consumeHeartbeats((beats) => this.#take(beats), both),
      this.#tickUntil(both),
      this.#measureRoundTrips(both),
      this.#grantBudgets(both),
    ];
    try {
      await Promise.race(parts);
      if (!signal.aborted) await Promise.all(parts);
    } finally {
      ended.abort();
      await Promise.allSettled(parts);
    }
  }

  state(): ObserverState {
    const nowMs = this.#options.clock.monotonicMs();
    const oldestMs = this.#outstanding.values().next().value;
    return {
      graceMs: graceMs(this.#slowestIntervalMs(nowMs)),
      intervalMs: this.#intervalMs,
      loopLagMs: this.#loopLagMs,
      consumerLagMs: oldestMs === undefined ? 0 : nowMs - oldestMs,
      isRoundTripFine: this.#isRoundTripFine,
      steadyMs: nowMs - this.#lastLapseMs,
    };
  }

  census(): ObserverCensus {
    return {
      roundTripMs: this.#roundTripMs,
      awakeMs: this.#awakeMs,
      lapses: this.#lapses,
      disruptedCells: this.#cells.disruptedCount,
      disruptedCellNames: this.#cells.disruptedCells,
      suspects: this.#cells.suspectCount,
    };
  }

  disruptionOf(nodeId: string): Disruption | undefined {
    return this.#cells.disruptionOf(nodeId);
  }

  budgetOf(_shard: number): Budget {
    return {
      heartbeatIntervalMs: this.#intervalMs,
      minReportIntervalMs: this.#demand.intervalMs,
      maxBatchBytes: MAX_BATCH_BYTES,
      coordinatorStart: this.#start,
      againWithinMs: BUDGET_AGAIN_MS + BUDGET_LOOK_MS + BUDGET_SPREAD_MS,
    };
  }

  get beatCount(): number {
    return this.#beatCount;
  }

  /** A shorter interval is granted over half a minute, and each node first ends the one it is in: until then nobody is silent for beating as it was told. */
  #slowestIntervalMs(nowMs: number): number {
    const isOver = this.#before === undefined || nowMs > this.#before.untilMs;
    return isOver ? this.#intervalMs : Math.max(this.#intervalMs, this.#before!.intervalMs);
  }

  async #tickUntil(signal: AbortSignal): Promise<void> {
    const { clock, bus } = this.#options;
    let dueMs = clock.monotonicMs();
    while (!signal.aborted) {
      const nowMs = clock.monotonicMs();
      this.#loopLagMs = Math.max(0, nowMs - dueMs);
      if (this.#loopLagMs > MAX_LATENESS_MS) this.#lapse("LoopLag");
      const { consumerLagMs } = this.state();
      if (consumerLagMs > this.#intervalMs) {
        this.#lapse("ConsumerLag");
        this.#outstanding.clear();
        this.#lastReturn = undefined;
        // Nothing comes back that could start a verdict, and yet `healthy` must not be claimed on old beats.
        this.#judge();
      }
      this.#sequence = (this.#sequence + 1) >>> 0;
      this.#outstanding.set(this.#sequence, nowMs);
      bus.publishSentinel(this.#sequence);
      dueMs = nowMs + TICK_MS;
      await sleep(clock, TICK_MS, signal).catch(() => undefined);
    }
  }

  #take(beats: readonly HeartbeatMessage[]): void {
    const { clock, fleet, knownNode } = this.#options;
    const nowMs = clock.monotonicMs();
    for (const message of beats) {
      if (message.brokerMs > this.#newestBrokerMs) this.#newestBrokerMs = message.brokerMs;
      if (message.nodeId === undefined) this.#takeSentinel(message, nowMs);
      else if (knownNode(message.nodeId)) {
        this.#beatCount += 1;
        fleet.foldBeat(message.nodeId, message, nowMs, this.#awakeMs);
      }
    }
  }

  #takeSentinel(message: HeartbeatMessage, nowMs: number): void {
    const { seq } = Heartbeat.decode(message.payload);
    const sentMs = this.#outstanding.get(seq);
    if (sentMs === undefined) return;
    for (const sequence of this.#outstanding.keys()) {
      this.#outstanding.delete(sequence);
      if (sequence === seq) break;
    }
    const last = this.#lastReturn;
    this.#lastReturn = { sentMs, brokerMs: message.brokerMs };
    const elapsedMs = last === undefined ? 0 : sentMs - last.sentMs;
    const driftMs = last === undefined ? 0 : message.brokerMs - last.brokerMs - elapsedMs;
    // What comes last is stamped last: an older stamp tells of a clock that was set back while nobody looked.
    if (Math.abs(driftMs) > MAX_STAMP_DRIFT_MS || this.#newestBrokerMs - message.brokerMs > MAX_STAMP_DRIFT_MS) {
      this.#lapse("BrokerClockMoved");
      this.#newestBrokerMs = message.brokerMs;
      this.#brokerEpoch = { atMs: nowMs, brokerMs: message.brokerMs };
    }
    if (last !== undefined) {
      this.#awakeMs += Math.min(elapsedMs, TICK_MS + MAX_LATENESS_MS);
    }
    if (nowMs - sentMs > this.#intervalMs) this.#lapse("ConsumerLag");
    this.#judge();
  }

  #judge(): void {
    const { clock, fleet, knownNode } = this.#options;
    const nowMs = clock.monotonicMs();
    const state = this.state();
    const lookAt = (beat: Beat): LookedAt & { readonly signs: Signs } => {
      const signs = this.#signsOf(beat, nowMs);
      const silenceMs = Math.min(signs.brokerSilenceMs, signs.ownSilenceMs);
      const isKnown = beat.atMs !== undefined && knownNode(beat.nodeId);
      return { nodeId: beat.nodeId, signs, silenceMs, isKnown, isBroken: signs.failure !== "" };
    };
    const all = (): (LookedAt & { readonly signs: Signs })[] => Array.from(fleet.beats(), lookAt);
    // Whoever is healthy and was heard lately stays healthy, however well we see: nearly all are, and are passed over.
    const now = { nowMs, brokerMs: this.#newestBrokerMs, awakeMs: this.#awakeMs };
    const few = Array.from(fleet.beatsToJudge(now, suspectAfterMs(state.graceMs)), lookAt);
    const changed = new Set(this.#cells.look(few, all, state.graceMs, nowMs));
    for (const { nodeId, signs } of few) {
      const cell = this.#cells.disruptionOf(nodeId) === undefined ? "calm" : "disrupted";
      const secondPath = this.#cells.opinionOf(nodeId);
      if (fleet.setHealth(nodeId, verdict(state, { ...signs, cell, secondPath }))) changed.add(nodeId);
    }
    fleet.notify([...changed]);
  }

  #signsOf(beat: Beat, nowMs: number): Signs {
    const isOfThisClock = beat.atMs === undefined || beat.atMs > this.#brokerEpoch.atMs;
    return {
      beatAgeMs: beat.atMs === undefined ? undefined : nowMs - beat.atMs,
      brokerSilenceMs: this.#newestBrokerMs - (isOfThisClock ? beat.brokerMs : this.#brokerEpoch.brokerMs),
      ownSilenceMs: this.#awakeMs - beat.awakeMs,
      failure: failureOf(beat),
    };
  }

  async #measureRoundTrips(signal: AbortSignal): Promise<void> {
    const { bus, clock } = this.#options;
    while (!signal.aborted) {
      const wasFine = this.#isRoundTripFine;
      try {
        this.#roundTripMs = await bus.roundTripMs();
        this.#isRoundTripFine = this.#roundTripMs < MAX_ROUND_TRIP_MS;
      } catch {
        this.#roundTripMs = undefined;
        this.#isRoundTripFine = false;
      }
      if (wasFine && !this.#isRoundTripFine) this.#lapse("RoundTrip");
      await sleep(clock, this.#isRoundTripFine ? ROUND_TRIP_EVERY_MS : TICK_MS, signal).catch(() => undefined);
    }
  }

  /** Said again now and then, so that an agent that was away learns it; spread over the shards, so that not all move at once. */
  async #grantBudgets(signal: AbortSignal): Promise<void> {
    const { bus, clock, fleet, log, reportLagMs = () => 0 } = this.#options;
    for (let toldAtMs = -Infinity; !signal.aborted; ) {
      let isDue = clock.monotonicMs() - toldAtMs >= BUDGET_AGAIN_MS;
      const wantedMs = heartbeatIntervalMs(fleet.size, this.#pace);
      if (Math.abs(wantedMs - this.#intervalMs) > BUDGET_HYSTERESIS * this.#intervalMs) {
        log.info({ intervalMs: wantedMs, nodes: fleet.size }, "heartbeat interval changes");
        this.#before = {
          intervalMs: this.#intervalMs,
          untilMs: clock.monotonicMs() + BUDGET_AGAIN_MS + this.#intervalMs,
        };
        this.#intervalMs = wantedMs;
        isDue = true;
      }
      // Beats and the loop go before reports: when they are late, what waits is not known in full.
      const lagMs = Math.max(reportLagMs(), this.state().consumerLagMs, this.#loopLagMs);
      const isForReports = this.#demand.look(lagMs, clock.monotonicMs());
      if (isForReports) log.warn({ intervalMs: this.#demand.intervalMs, lagMs: Math.round(lagMs) }, "how often nodes may report changes");
      if (isDue || isForReports) {
        toldAtMs = clock.monotonicMs();
        for (let shard = 0; shard < SHARD_COUNT && !signal.aborted; shard++) {
          bus.grantBudget(shard, this.budgetOf(shard));
          await sleep(clock, (isDue ? BUDGET_SPREAD_MS : REPORTS_SPREAD_MS) / SHARD_COUNT, signal).catch(() => undefined);
        }
      }
      await sleep(clock, BUDGET_LOOK_MS, signal).catch(() => undefined);
    }
  }

  #lapse(cause: string): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#lapses += 1;
    if (nowMs - this.#lastLapseMs > graceMs(this.#intervalMs)) {
      this.#options.log.warn({ cause }, "the observer lapsed; no verdicts of silence for one grace period");
    }
    this.#lastLapseMs = nowMs;
  }
}

type Signs = Omit<NodeSigns, "cell" | "secondPath">;

function failureOf({ flags, head }: Beat): string {
  if ((flags & FLAG_FAILED) !== 0 || head.outcome === "failed") return head.reason || "PlanFailed";
  return head.brokenBy;
}
