/** What every agent holds, in typed arrays by its number. Numbers below `agents` are nodes; the others are clones of some of them, on the same node. */
import { createHash } from "node:crypto";
import { SHARD_COUNT, shardOf } from "@drover/proto";
import { nodeIdOf } from "./agent-identity.ts";

/** How many clones there can be. */
const CLONES = 1_024;

export class AgentColumns {
  readonly agents: number;
  readonly capacity: number;
  readonly nodeIds: string[];
  /** The number of the agent whose node it is: its own but for clones. */
  readonly node: Int32Array;
  readonly shard: Uint8Array;
  /** Where in its interval it beats: of it the remainder. */
  readonly slot: Uint32Array;
  readonly isConnected: Uint8Array;
  readonly isSilent: Uint8Array;
  readonly beatSeq: Uint32Array;
  readonly flags: Uint8Array;
  readonly stateDigest: Uint32Array;
  readonly planEpoch: Float64Array;
  readonly generation: Float64Array;
  readonly enforcedEpoch: Float64Array;
  readonly enforcedGeneration: Float64Array;
  readonly rejectedGeneration: Float64Array;
  /** How often it was started, and how often its outbox was begun anew: what ids are derived from. */
  readonly process: Uint16Array;
  readonly outbox: Uint16Array;
  readonly sealedSeq: Uint32Array;
  readonly ackedSeq: Uint32Array;
  /** The report interval is doubled so many times. */
  readonly slowdown: Uint8Array;
  readonly lastAckMs: Uint16Array;
  readonly failedSessions: Uint8Array;
  /** What the next session is opened for, if nothing else comes first: a poll. */
  readonly isPoll: Uint8Array;
  /** The coordinator start that it conversed with last, and until when that spares it polls. */
  readonly metStart: Uint32Array;
  readonly restUntilMs: Float64Array;
  readonly lagMs: Uint32Array;
  readonly skewMs: Float64Array;
  /** 0: as the simulation was asked. */
  readonly stepMs: Uint32Array;
  readonly intervalMsOfShard: Uint32Array;
  readonly reportIntervalMsOfShard: Uint32Array;
  readonly heardStartOfShard: Uint32Array;
  readonly heardUntilMsOfShard: Float64Array;

  /** @param first index of the first agent, when others hold those before it */
  constructor(seed: number, first: number, agents: number, intervalMs: number) {
    const capacity = agents + CLONES;
    this.agents = agents;
    this.capacity = capacity;
    this.nodeIds = Array.from({ length: agents }, (_, agent) => nodeIdOf(seed, first + agent));
    this.node = Int32Array.from({ length: capacity }, (_, agent) => agent);
    this.shard = new Uint8Array(capacity);
    this.slot = new Uint32Array(capacity);
    for (const [agent, nodeId] of this.nodeIds.entries()) {
      this.shard[agent] = shardOf(nodeId);
      // As slotOf of the agent, before the remainder.
      this.slot[agent] = createHash("sha256").update(`slot ${nodeId}`).digest().readUInt32LE();
    }
    this.isConnected = new Uint8Array(capacity);
    this.isSilent = new Uint8Array(capacity);
    this.beatSeq = new Uint32Array(capacity);
    this.flags = new Uint8Array(capacity);
    this.stateDigest = new Uint32Array(capacity);
    this.planEpoch = new Float64Array(capacity);
    this.generation = new Float64Array(capacity);
    this.enforcedEpoch = new Float64Array(capacity);
    this.enforcedGeneration = new Float64Array(capacity);
    this.rejectedGeneration = new Float64Array(capacity);
    this.process = new Uint16Array(capacity);
    this.outbox = new Uint16Array(capacity);
    this.sealedSeq = new Uint32Array(capacity);
    this.ackedSeq = new Uint32Array(capacity);
    this.slowdown = new Uint8Array(capacity);
    this.lastAckMs = new Uint16Array(capacity);
    this.failedSessions = new Uint8Array(capacity);
    this.isPoll = new Uint8Array(capacity);
    this.metStart = new Uint32Array(capacity);
    this.restUntilMs = new Float64Array(capacity);
    this.lagMs = new Uint32Array(capacity);
    this.skewMs = new Float64Array(capacity);
    this.stepMs = new Uint32Array(capacity);
    this.intervalMsOfShard = new Uint32Array(SHARD_COUNT).fill(intervalMs);
    this.reportIntervalMsOfShard = new Uint32Array(SHARD_COUNT);
    this.heardStartOfShard = new Uint32Array(SHARD_COUNT);
    this.heardUntilMsOfShard = new Float64Array(SHARD_COUNT);
  }

  /** A copy of the disk of that agent, on another machine. @returns its number */
  clone(agent: number): number {
    const number = this.nodeIds.length;
    if (number >= this.capacity) throw new RangeError(`at most ${CLONES} clones`);
    this.nodeIds.push(this.nodeIds[agent]!);
    for (const column of this.#columns()) column[number] = column[agent]!;
    // Another process of the same identity.
    this.process[number] = this.process[agent]! + 1_000;
    this.beatSeq[number] = 0;
    return number;
  }

  #columns(): (Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array)[] {
    const values: unknown[] = Object.values(this);
    return values.filter((value) => ArrayBuffer.isView(value) && (value as Uint8Array).length === this.capacity) as Uint8Array[];
  }
}
