/** What was acknowledged held against what the coordinator's report log has, by counting. */
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { readReports } from "../../coordinator/src/reportlog/report-count.ts";
import { openSqliteReportLog } from "../../coordinator/src/reportlog/sqlite-report-log.ts";

/** What `drover token create -o json` says. */
export interface JoinToken {
  readonly joinToken: string;
  readonly caPin: string;
  readonly endpoint: string;
}

/** What the load's events tell of. */
export const LOAD_STEP = "load";

export interface LoadNodeState {
  readonly nodeId: string;
  /** Events made so far; each carries its number. */
  readonly written: number;
  /** Hex. */
  readonly epoch: string;
  readonly unacknowledged: number;
}

/** Asks the load: /state, /pause or /resume. */
export function askLoad(directory: string, path: string): Promise<readonly LoadNodeState[]> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: join(directory, "socket"), path, timeout: 10_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("end", () => resolve(JSON.parse(Buffer.concat(chunks).toString()) as LoadNodeState[]));
      response.once("error", reject);
    });
    asked.once("timeout", () => asked.destroy(new Error("the load does not answer")));
    asked.once("error", reject);
    asked.end();
  });
}

/** "node/epoch" to the highest seq acknowledged. */
export type Acked = ReadonlyMap<string, number>;

export async function ackedSoFar(directory: string): Promise<Acked> {
  const highest = new Map<string, number>();
  for (const line of (await readFile(join(directory, "acks"), "utf8")).split("\n")) {
    const [nodeId, epoch, seq] = line.split(" ");
    if (seq === undefined) continue;
    const key = `${nodeId}/${epoch}`;
    highest.set(key, Math.max(highest.get(key) ?? 0, Number(seq)));
  }
  return highest;
}

/** Lost with a log that was deleted on purpose: nobody may ask for it. */
export interface Excused {
  readonly acked: Acked;
  /** Outboxes that the deleted log had, of whatever node. */
  readonly outboxes: ReadonlySet<string>;
  /** Node to the number of its last event then. */
  readonly events: ReadonlyMap<string, number>;
}

export const nothingExcused: Excused = { acked: new Map(), outboxes: new Set(), events: new Map() };

export interface Logged {
  /** "node/epoch" to its seqs. */
  readonly seqs: ReadonlyMap<string, ReadonlySet<number>>;
  /** Node to the numbers of its events. */
  readonly events: ReadonlyMap<string, ReadonlySet<number>>;
}

export async function logged(path: string): Promise<Logged> {
  const log = openSqliteReportLog(path);
  try {
    const seqs = new Map<string, Set<number>>();
    const events = new Map<string, Set<number>>();
    for await (const { nodeId, outboxEpoch, seq, batch } of readReports(log)) {
      const key = `${nodeId}/${outboxEpoch}`;
      if (!seqs.has(key)) seqs.set(key, new Set());
      const known = seqs.get(key)!;
      if (known.has(seq)) throw new Error(`the log's reader gave ${key} seq ${seq} twice`);
      known.add(seq);
      if (!events.has(nodeId)) events.set(nodeId, new Set());
      for (const { body } of batch.events) {
        if (body?.$case === "stepResult" && body.value.step === LOAD_STEP) events.get(nodeId)!.add(Number(body.value.message));
      }
    }
    return { seqs, events };
  } finally {
    await log.close();
  }
}

/** One sentence per thing that is missing; none: all that was acknowledged is there, once and without a hole. */
export function missing(log: Logged, acked: Acked, load: readonly LoadNodeState[], excused: Excused): string[] {
  const found: string[] = [];
  for (const [key, highest] of acked) {
    const from = (excused.acked.get(key) ?? 0) + 1;
    const holes = holesOf(log.seqs.get(key), from, highest);
    if (holes.length > 0) found.push(`${key}: acknowledged up to ${highest}, not in the log: ${inShort(holes)}`);
  }
  for (const [key, seqs] of log.seqs) {
    if (excused.outboxes.has(key)) continue;
    const holes = holesOf(seqs, 1, Math.max(...seqs));
    if (holes.length > 0) found.push(`${key}: holes in the log at ${inShort(holes)}`);
  }
  for (const { nodeId, written } of load) {
    const holes = holesOf(log.events.get(nodeId), (excused.events.get(nodeId) ?? 0) + 1, written);
    if (holes.length > 0) found.push(`${nodeId}: ${written} events were reported and acknowledged, not in the log: ${inShort(holes)}`);
  }
  return found;
}

function holesOf(present: ReadonlySet<number> | undefined, from: number, to: number): number[] {
  const holes: number[] = [];
  for (let number = from; number <= to; number += 1) if (present?.has(number) !== true) holes.push(number);
  return holes;
}

function inShort(numbers: readonly number[]): string {
  return numbers.length <= 5 ? numbers.join(", ") : `${numbers.slice(0, 3).join(", ")} .. ${numbers.at(-1)} (${numbers.length})`;
}
