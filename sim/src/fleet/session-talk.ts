/** What agents say in sessions, and when they open one: woken, wanted, on the slow poll, and again with backoff. */
import { exponentialBackoff, jittered, type Random } from "@drover/lifecycle";
import type { Budget, ConverseResponse, Wake } from "@drover/proto";
import type { AgentCounts } from "../sim-port.ts";
import type { AgentColumns } from "./agent-columns.ts";
import { AGENT_VERSION } from "./agent-events.ts";
import { derived } from "./agent-identity.ts";
import { type Enforcement, STEP_KINDS } from "./enforcement.ts";
import type { Outboxes } from "./outboxes.ts";
import type { FleetSession, FleetSessions } from "./ports.ts";

/** As in the agent's conversation. */
const IDLE_AFTER_MS = 200;
const REOPEN_BASE_MS = 5_000;
/** As in the agent's poll need. */
const MISSED_BUDGETS = 2;
const LONGEST_REST_MS = 12 * 3_600_000;
const EMPTY = Buffer.alloc(0);

interface Live {
  session: FleetSession;
  /** A session that was open before something was tried proves nothing for it. */
  confirms: boolean;
}

export interface SessionTalkParts {
  readonly seed: number;
  readonly first: number;
  readonly columns: AgentColumns;
  readonly sessions: FleetSessions;
  readonly enforcement: () => Enforcement;
  readonly outboxes: () => Outboxes;
  readonly counts: AgentCounts;
  readonly random: Random;
  readonly pollMs: number;
  readonly nowMs: () => number;
  /** Arm the agent's timers for the next session and for becoming idle; Infinity: none. */
  readonly armSession: (agent: number, atMs: number) => void;
  readonly armIdle: (agent: number, atMs: number) => void;
}

export class SessionTalk {
  readonly #parts: SessionTalkParts;
  readonly #live = new Map<number, Live>();
  /** When each opens its next session; Infinity: not yet known. */
  readonly #nextMs: Float64Array;

  constructor(parts: SessionTalkParts) {
    this.#parts = parts;
    this.#nextMs = new Float64Array(parts.columns.capacity).fill(Infinity);
  }

  get liveCount(): number {
    return this.#live.size;
  }

  isLive(agent: number): boolean {
    return this.#live.has(agent);
  }

  /** In at most that time. */
  openWithin(agent: number, ms: number): void {
    const { nowMs, armSession } = this.#parts;
    const atMs = nowMs() + ms;
    if (atMs >= this.#nextMs[agent]!) return;
    this.#nextMs[agent] = atMs;
    this.#parts.columns.isPoll[agent] = 0;
    armSession(agent, atMs);
  }

  #pollWithin(agent: number, ms: number): void {
    if (this.#parts.nowMs() + ms >= this.#nextMs[agent]!) return;
    this.openWithin(agent, ms);
    this.#parts.columns.isPoll[agent] = 1;
  }

  /** A budget, on the bus. */
  heard(shard: number, { coordinatorStart, againWithinMs }: Budget): void {
    const { columns, nowMs } = this.#parts;
    columns.heardStartOfShard[shard] = coordinatorStart;
    columns.heardUntilMsOfShard[shard] = nowMs() + MISSED_BUDGETS * againWithinMs;
  }

  #isPollSpared(agent: number): boolean {
    const { columns, nowMs } = this.#parts;
    const shard = columns.shard[agent]!;
    const met = columns.metStart[agent]!;
    const untilMs = Math.min(columns.heardUntilMsOfShard[shard]!, columns.restUntilMs[agent]!);
    return columns.isConnected[agent] === 1 && met !== 0 && met === columns.heardStartOfShard[shard] && nowMs() < untilMs;
  }

  wake(agent: number, { generation, delayMs, sessionWanted }: Wake): void {
    const { columns, counts } = this.#parts;
    counts.wakes += 1;
    if (this.#live.has(agent) || (!sessionWanted && columns.generation[agent] === generation)) return;
    this.openWithin(agent, delayMs);
  }

  /** Something was tried: only a session opened from now on can confirm it (I4). */
  wantNewSession(agent: number): void {
    this.#live.get(agent)?.session.end();
    if (!this.#live.has(agent)) this.openWithin(agent, 0);
  }

  /** The agent's session timer. */
  due(agent: number): void {
    this.#nextMs[agent] = Infinity;
    const { columns, counts, sessions, enforcement, outboxes } = this.#parts;
    if (columns.isSilent[agent] === 1 || this.#live.has(agent)) return;
    if (columns.isPoll[agent] === 1 && this.#isPollSpared(agent)) {
      this.#pollWithin(agent, jittered(this.#parts.random, this.#parts.pollMs, 0.3));
      return;
    }
    const unconfirmed = enforcement().unconfirmed(agent);
    const live: Live = { session: NO_SESSION, confirms: unconfirmed !== undefined };
    this.#live.set(agent, live);
    counts.sessions += 1;
    live.session = sessions.open(agent, {
      received: (message) => {
        if (this.#live.get(agent) === live) this.#take(agent, live.session, message);
      },
      ended: (why) => this.#ended(agent, live, why),
    });
    if (this.#live.get(agent) !== live) return;
    live.session.send({
      $case: "hello",
      value: {
        agentVersion: AGENT_VERSION,
        bootId: `boot-${agent}`,
        acceptedEpoch: columns.planEpoch[agent]!,
        acceptedGeneration: columns.generation[agent]!,
        enforcedEpoch: columns.enforcedEpoch[agent]!,
        enforcedGeneration: columns.enforcedGeneration[agent]!,
        rejectedGeneration: columns.rejectedGeneration[agent]!,
        stepKinds: [...STEP_KINDS],
        outboxEpoch: outboxes().epochOf(agent),
        processId: derived(this.#parts.seed, `process ${columns.process[agent]}`, this.#parts.first + agent).subarray(0, 16),
      },
    });
    if (unconfirmed !== undefined) {
      const { planEpoch, generation } = unconfirmed;
      live.session.send({ $case: "confirmRequest", value: { planEpoch, generation } });
    }
    this.idleSoon(agent);
  }

  /** Nothing more is to be done, as far as the agent knows, when so much later nothing else was instructed. */
  idleSoon(agent: number): void {
    if (this.#live.has(agent)) this.#parts.armIdle(agent, this.#parts.nowMs() + IDLE_AFTER_MS);
  }

  idleDue(agent: number): void {
    if (this.#parts.enforcement().isWorking(agent)) return;
    this.#live.get(agent)?.session.send({ $case: "idle", value: {} });
  }

  /** The machine died. */
  drop(agent: number): void {
    this.#nextMs[agent] = Infinity;
    this.#parts.armSession(agent, Infinity);
    const live = this.#live.get(agent);
    this.#live.delete(agent);
    live?.session.abandon();
  }

  #ended(agent: number, live: Live, why: string): void {
    if (this.#live.get(agent) !== live) return;
    this.#live.delete(agent);
    const { columns, counts, enforcement, pollMs, random } = this.#parts;
    if (why === "") {
      columns.failedSessions[agent] = 0;
      const isWanted = enforcement().unconfirmed(agent) !== undefined;
      if (isWanted) return this.openWithin(agent, live.confirms ? jittered(random, 3_000, 0.3) : 0);
      return this.#pollWithin(agent, jittered(random, pollMs, 0.3));
    }
    counts.sessionsFailed += 1;
    const failed = columns.failedSessions[agent]!;
    columns.failedSessions[agent] = Math.min(20, failed + 1);
    this.openWithin(agent, backoffMs(random, failed, pollMs));
  }

  #take(agent: number, session: FleetSession, { body }: ConverseResponse): void {
    const enforcement = this.#parts.enforcement();
    switch (body?.$case) {
      case "applyPlan": {
        const acceptance = enforcement.accept(agent, body.value.signedPlan?.plan ?? EMPTY);
        if (acceptance.outcome === "refused") {
          const { pair, reason, message } = acceptance;
          const { planEpoch, generation } = pair ?? { planEpoch: 0, generation: 0 };
          session.send({ $case: "planAnswer", value: { planEpoch, generation, accepted: false, reason, message } });
        } else {
          const { planEpoch, generation } = acceptance.plan;
          this.#parts.counts.plansAccepted += acceptance.outcome === "accepted" ? 1 : 0;
          session.send({ $case: "planAnswer", value: { planEpoch, generation, accepted: true, reason: "", message: "" } });
        }
        break;
      }
      case "cancelPlan":
        enforcement.cancel(agent, body.value);
        break;
      case "confirmPlan":
        enforcement.confirm(agent, body.value);
        break;
      case "collectLogs": {
        const { requestId, offset } = body.value;
        session.send({ $case: "logChunk", value: { requestId, offset, chunk: EMPTY, last: true, reason: "NoSuchStep" } });
        break;
      }
      case "dryRun":
        session.send({ $case: "dryRunResult", value: { requestId: body.value.requestId, steps: [], reason: "", message: "" } });
        break;
      case "runRung":
        session.send({ $case: "rungResult", value: { requestId: body.value.requestId, done: true, reason: "", message: "" } });
        break;
      case "collectEvidence": {
        const { requestId } = body.value;
        session.send({ $case: "evidenceChunk", value: { requestId, offset: 0, chunk: EMPTY, last: true, reason: "" } });
        break;
      }
      case "welcome":
        if (body.value.budget !== undefined) this.heard(this.#parts.columns.shard[agent]!, body.value.budget);
        this.#parts.columns.metStart[agent] = body.value.budget?.coordinatorStart ?? 0;
        this.#parts.columns.restUntilMs[agent] = this.#parts.nowMs() + LONGEST_REST_MS;
        break;
      case "joinCredential":
      case undefined:
        break;
    }
    this.idleSoon(agent);
  }
}

const NO_SESSION: FleetSession = { send: () => undefined, end: () => undefined, abandon: () => undefined };

function backoffMs(random: Random, failed: number, maxMs: number): number {
  const backoff = exponentialBackoff(random, { baseMs: REOPEN_BASE_MS * 2 ** Math.min(10, failed), maxMs });
  return backoff.nextDelayMs();
}
