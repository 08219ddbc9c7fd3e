/**
 * A fleet of simulated agents in one process: one timer wheel, columns of state, and the state machines of heartbeats, reports, sessions and plans. Stands on
 * a bus and on sessions, and does not know which tier it is in.
 */
import { jittered, seededRandom } from "@drover/lifecycle";
import { type Budget, Heartbeat, type Plan, type ToNode } from "@drover/proto";
import type { AgentCounts, StepFailure } from "../sim-port.ts";
import { AgentColumns } from "./agent-columns.ts";
import { condition, eventOf, factsOf, started } from "./agent-events.ts";
import { Enforcement } from "./enforcement.ts";
import { Outboxes } from "./outboxes.ts";
import type { FleetBus, FleetSessions } from "./ports.ts";
import { SessionTalk } from "./session-talk.ts";
import { TimerWheel } from "./timer-wheel.ts";

const TICK_MS = 10;
/** Of each agent, by the order in the wheel. */
const BEAT = 0;
const REPORT = 1;
const SESSION = 2;
const IDLE = 3;
const STEP = 4;
const TIMERS = 5;

export interface FleetOptions {
  readonly seed: number;
  /** Index of the first agent; others may hold those before it. */
  readonly first: number;
  readonly agents: number;
  readonly heartbeatIntervalMs: number;
  readonly stepMs: number;
  readonly changesPerMinute: number;
  /** Between sessions that nobody asked for. */
  readonly pollMs: number;
  /** By what the first session comes. */
  readonly firstSessionMs: number;
  /** Their plan, as it was seeded; undefined: they have none and have told nothing. */
  readonly foundPlan: Plan | undefined;
}

export class AgentFleet {
  readonly columns: AgentColumns;
  readonly outboxes: Outboxes;
  readonly counts: AgentCounts = noCounts();
  readonly #options: FleetOptions;
  readonly #bus: FleetBus;
  readonly #wheel: TimerWheel;
  readonly #random;
  readonly #enforcement: Enforcement;
  readonly #talk: SessionTalk;
  readonly #indexOf = new Map<string, number>();
  readonly #clones = new Map<number, number[]>();
  readonly #byShard: number[][] = [];
  #timer: NodeJS.Timeout | undefined;
  #changesPerMinute: number;
  #changesDue = 0;
  #changedAtMs = performance.now();
  #worstLateMs = 0;

  constructor(options: FleetOptions, bus: FleetBus, sessions: FleetSessions) {
    const { seed, first, agents, stepMs, pollMs } = options;
    this.#options = options;
    this.#bus = bus;
    this.#changesPerMinute = options.changesPerMinute;
    this.#random = seededRandom(seed * 7_919 + first);
    const random = this.#random;
    const columns = new AgentColumns(seed, first, agents, options.heartbeatIntervalMs);
    this.columns = columns;
    for (const [agent, nodeId] of columns.nodeIds.entries()) {
      this.#indexOf.set(nodeId, agent);
      (this.#byShard[columns.shard[agent]!] ??= []).push(agent);
    }
    const nowMs = (): number => performance.now();
    this.#wheel = new TimerWheel(columns.capacity * TIMERS, nowMs(), (timer) => this.#fire(timer), TICK_MS);
    const arm = (kind: number) => (agent: number, atMs: number) => {
      if (atMs === Infinity) this.#wheel.cancel(agent * TIMERS + kind);
      else this.#wheel.arm(agent * TIMERS + kind, atMs);
    };
    const { counts } = this;
    const clockOf = (agent: number): number => Date.now() + columns.skewMs[agent]!;
    const lagging = this.#laggingBus();
    this.outboxes = new Outboxes({
      seed,
      first,
      columns,
      bus: lagging,
      counts,
      random,
      arm: arm(REPORT),
      nowMs,
      onLost: (agent) => this.#enforcement.tellLost(agent),
    });
    this.#talk = new SessionTalk({
      seed,
      first,
      columns,
      sessions,
      enforcement: () => this.#enforcement,
      outboxes: () => this.outboxes,
      counts,
      random,
      pollMs,
      nowMs,
      armSession: arm(SESSION),
      armIdle: arm(IDLE),
    });
    this.#enforcement = new Enforcement({
      columns,
      outboxes: this.outboxes,
      random,
      stepMs,
      nowMs,
      clockOf,
      arm: arm(STEP),
      wantNewSession: (agent) => this.#talk.wantNewSession(agent),
      changed: (agent) => this.#beat(agent),
      ended: (agent, outcome) => {
        if (outcome === "enforced") counts.plansEnforced += 1;
        else counts.plansFailed += 1;
        this.#talk.idleSoon(agent);
      },
    });
    if (options.foundPlan !== undefined) this.#findPlan(options.foundPlan);
  }

  /** The interval that most agents have, ms. */
  get heartbeatIntervalMs(): number {
    return [...this.columns.intervalMsOfShard].sort((a, b) => a - b)[32]!;
  }

  /** Agents that have not beaten since they were started, and are not silent. */
  get unheardCount(): number {
    const { agents, beatSeq, isSilent } = this.columns;
    let unheard = 0;
    for (let agent = 0; agent < agents; agent += 1) if (beatSeq[agent] === 0 && isSilent[agent] === 0) unheard += 1;
    return unheard;
  }

  /** How late timers fired at worst since this was asked last, ms: the simulation itself was too slow then. */
  takeWorstLateMs(): number {
    const worst = this.#worstLateMs;
    this.#worstLateMs = 0;
    return worst;
  }

  start(): void {
    this.#turn();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  // What comes in from the bus.

  connected(agent: number): void {
    const { columns, counts } = this;
    if (columns.isConnected[agent] === 1) return;
    columns.isConnected[agent] = 1;
    counts.connections += 1;
    const isFirst = columns.beatSeq[agent] === 0;
    this.#scheduleBeat(agent);
    if (isFirst) {
      // A fleet that was found as it is goes on with its slots and its slow poll; one that is new says who it is.
      const isFound = this.#options.foundPlan !== undefined;
      if (!isFound) this.#introduce(agent);
      this.#talk.openWithin(agent, this.#random.unit() * (isFound ? this.#options.pollMs : this.#options.firstSessionMs));
    } else {
      counts.reconnects += 1;
      this.outboxes.connected(agent);
    }
  }

  disconnected(agent: number): void {
    if (this.columns.isConnected[agent] === 0) return;
    this.columns.isConnected[agent] = 0;
    this.counts.connections -= 1;
  }

  toNode(nodeId: string, message: ToNode): void {
    const agent = this.#indexOf.get(nodeId);
    if (agent === undefined) return;
    this.#take(agent, message);
    for (const clone of this.#clones.get(agent) ?? []) this.#take(clone, message);
  }

  budget(shard: number, budget: Budget): void {
    this.counts.budgets += 1;
    this.#talk.heard(shard, budget);
    this.#grant(shard, budget);
  }

  #grant(shard: number, { heartbeatIntervalMs, minReportIntervalMs }: Pick<Budget, "heartbeatIntervalMs" | "minReportIntervalMs">): void {
    const { columns } = this;
    columns.reportIntervalMsOfShard[shard] = minReportIntervalMs;
    const intervalMs = Math.min(600_000, Math.max(1_000, heartbeatIntervalMs));
    if (heartbeatIntervalMs === 0 || columns.intervalMsOfShard[shard] === intervalMs) return;
    columns.intervalMsOfShard[shard] = intervalMs;
    for (const agent of this.#byShard[shard] ?? []) if (this.#wheel.isArmed(agent * TIMERS + BEAT)) this.#scheduleBeat(agent);
  }

  // Faults; agents by their number here.

  /** All of them, as if a budget had said so. */
  beatEvery(ms: number): void {
    for (const [shard, minReportIntervalMs] of this.columns.reportIntervalMsOfShard.entries()) {
      this.#grant(shard, { heartbeatIntervalMs: ms, minReportIntervalMs });
    }
  }

  silence(agents: readonly number[]): void {
    for (const agent of agents) {
      if (this.columns.isSilent[agent] === 1) continue;
      this.columns.isSilent[agent] = 1;
      this.counts.silent += 1;
      this.#talk.drop(agent);
      for (const kind of [BEAT, REPORT, SESSION, IDLE, STEP]) this.#wheel.cancel(agent * TIMERS + kind);
    }
  }

  revive(agents: readonly number[]): void {
    const { columns } = this;
    for (const agent of agents) {
      if (columns.isSilent[agent] === 0) continue;
      columns.isSilent[agent] = 0;
      this.counts.silent -= 1;
      columns.process[agent] = columns.process[agent]! + 1;
      columns.beatSeq[agent] = 0;
      this.#note(agent, started(this.#options.first + agent, columns.process[agent] + 1));
      this.outboxes.connected(agent);
      this.#enforcement.restart(agent);
      if (columns.isConnected[agent] === 0) continue;
      this.#beat(agent);
      this.#scheduleBeat(agent);
      this.#talk.openWithin(agent, this.#random.unit() * this.#options.firstSessionMs);
    }
  }

  lag(agents: readonly number[], ms: number): void {
    for (const agent of agents) this.columns.lagMs[agent] = ms;
  }

  skew(agents: readonly number[], ms: number): void {
    for (const agent of agents) {
      this.columns.skewMs[agent] = ms;
      if (this.#wheel.isArmed(agent * TIMERS + BEAT)) this.#scheduleBeat(agent);
    }
  }

  /** @param onClone called before the clone says anything */
  duplicate(agents: readonly number[], onClone: (clone: number, original: number) => void): void {
    for (const agent of agents) {
      const clone = this.columns.clone(agent);
      onClone(clone, agent);
      this.columns.isConnected[clone] = 0;
      this.#clones.set(agent, [...(this.#clones.get(agent) ?? []), clone]);
      this.connected(clone);
      this.#note(clone, started(this.#options.first + agent, 1));
    }
  }

  failSteps(agents: readonly number[], failure: StepFailure | undefined): void {
    for (const agent of agents) this.#enforcement.fail(agent, failure);
  }

  slowSteps(agents: readonly number[], ms: number): void {
    for (const agent of agents) this.columns.stepMs[agent] = ms;
  }

  reportDelta(agents: readonly number[]): void {
    for (const agent of agents) this.#delta(agent);
  }

  setChangesPerMinute(share: number): void {
    this.#changesPerMinute = share;
  }

  #fire(timer: number): void {
    const agent = Math.floor(timer / TIMERS);
    switch (timer % TIMERS) {
      case BEAT:
        this.#beat(agent);
        return this.#scheduleBeat(agent);
      case REPORT:
        return this.outboxes.due(agent);
      case SESSION:
        return this.#talk.due(agent);
      case IDLE:
        return this.#talk.idleDue(agent);
      case STEP:
        return this.#enforcement.due(agent);
    }
  }

  #turn(): void {
    const nowMs = performance.now();
    this.#worstLateMs = Math.max(this.#worstLateMs, this.#wheel.advance(nowMs));
    this.#makeChanges(nowMs);
    this.counts.enforcing = this.#enforcement.count;
    const spentMs = performance.now() - nowMs;
    this.#timer = setTimeout(() => this.#turn(), Math.max(0, TICK_MS - spentMs));
  }

  #makeChanges(nowMs: number): void {
    const { columns } = this;
    this.#changesDue += ((nowMs - this.#changedAtMs) / 60_000) * this.#changesPerMinute * columns.agents;
    this.#changedAtMs = nowMs;
    for (; this.#changesDue >= 1; this.#changesDue -= 1) {
      const agent = Math.floor(this.#random.unit() * columns.agents);
      if (columns.isConnected[agent] === 1 && columns.isSilent[agent] === 0) this.#delta(agent);
    }
  }

  #delta(agent: number): void {
    const { columns } = this;
    const atMs = Date.now() + columns.skewMs[agent]!;
    columns.stateDigest[agent] = (Math.imul(columns.stateDigest[agent]!, 31) + 7) >>> 0;
    const isTrue = columns.stateDigest[agent] % 2 === 0;
    this.#note(agent, condition("Simulated", isTrue, isTrue ? "On" : "Off", atMs));
  }

  #note(agent: number, ...bodies: Parameters<typeof eventOf>[2][]): void {
    const { columns } = this;
    const pair = { planEpoch: columns.planEpoch[agent]!, generation: columns.generation[agent]! };
    const atMs = Date.now() + columns.skewMs[agent]!;
    this.outboxes.note(
      agent,
      bodies.map((body) => eventOf(atMs, pair, body)),
    );
  }

  #introduce(agent: number): void {
    const index = this.#options.first + this.columns.node[agent]!;
    this.#note(agent, started(index, 1), factsOf(index), condition("ClockCredible", true, "Synchronised", Date.now()));
  }

  #findPlan(plan: Plan): void {
    const { columns } = this;
    for (let agent = 0; agent < columns.agents; agent += 1) {
      this.#enforcement.foundEnforced(agent, plan);
      columns.sealedSeq[agent] = 1;
      columns.ackedSeq[agent] = 1;
    }
  }

  #beat(agent: number): void {
    const { columns, counts } = this;
    if (columns.isConnected[agent] === 0 || columns.isSilent[agent] === 1) return;
    const seq = (columns.beatSeq[agent]! + 1) >>> 0;
    columns.beatSeq[agent] = seq;
    counts.beats += 1;
    const beat = {
      seq,
      observedGeneration: columns.generation[agent]!,
      stateDigest: columns.stateDigest[agent]!,
      flags: columns.flags[agent]!,
    };
    this.#sendBeat(agent, Heartbeat.encode(beat).finish());
  }

  #sendBeat(agent: number, payload: Uint8Array): void {
    const lagMs = this.columns.lagMs[agent]!;
    if (lagMs === 0) this.#bus.publishHeartbeat(agent, payload);
    else setTimeout(() => this.#bus.publishHeartbeat(agent, payload), lagMs);
  }

  #laggingBus(): FleetBus {
    const bus = this.#bus;
    const { columns } = this;
    return {
      publishHeartbeat: (agent, payload) => bus.publishHeartbeat(agent, payload),
      publishReport: (agent, payload) => {
        const lagMs = columns.lagMs[agent]!;
        if (lagMs === 0) return bus.publishReport(agent, payload);
        setTimeout(() => bus.publishReport(agent, payload), jittered(this.#random, lagMs, 0.1));
        return true;
      },
    };
  }

  /** At its slot of the interval, by the agent's own clock. */
  #scheduleBeat(agent: number): void {
    const { columns } = this;
    const intervalMs = columns.intervalMsOfShard[columns.shard[agent]!]!;
    const clockMs = Date.now() + columns.skewMs[agent]!;
    const sinceSlotMs = (((clockMs - (columns.slot[agent]! % intervalMs)) % intervalMs) + intervalMs) % intervalMs;
    this.#wheel.arm(agent * TIMERS + BEAT, performance.now() + intervalMs - sinceSlotMs);
  }

  #take(agent: number, { body }: ToNode): void {
    if (this.columns.isSilent[agent] === 1) return;
    if (body?.$case === "ack") this.outboxes.takeAck(agent, body.value);
    else if (body?.$case === "wake") this.#talk.wake(agent, body.value);
  }
}

export function noCounts(): AgentCounts {
  return {
    connections: 0,
    reconnects: 0,
    beats: 0,
    reportsPublished: 0,
    reportsSealed: 0,
    reportsAcknowledged: 0,
    wakes: 0,
    sessions: 0,
    sessionsFailed: 0,
    plansAccepted: 0,
    plansEnforced: 0,
    plansFailed: 0,
    enforcing: 0,
    budgets: 0,
    silent: 0,
  };
}
