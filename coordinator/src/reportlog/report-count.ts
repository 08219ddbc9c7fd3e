/**
 * What "stored once" means: reports as the log's reader sees them, each (node, outbox epoch, seq) one time,
 * however often a resend or a redelivery put its bytes there. Refused batches are not reports.
 */
import { hash } from "node:crypto";
import { ReportBatch } from "@drover/proto";
import type { ReportMessage } from "../bus/bus.ts";
import type { ReportLog } from "./report-log.ts";

export const MAX_BATCH_BYTES = 64 * 1024;
export const OUTBOX_EPOCH_BYTES = 8;

export type BatchReading =
  | { readonly ok: true; readonly batch: ReportBatch /** 48 bits of the SHA-256 of its bytes. */; readonly digest: number }
  | { readonly ok: false; readonly reason: "TooLarge" | "NotDecodable" | "WrongNode"; readonly message: string };

/** Decodes one message and holds it against its subject; the one place where a batch is believed or not. */
export function readBatch(message: Pick<ReportMessage, "nodeId" | "payload">): BatchReading {
  const { nodeId, payload } = message;
  if (payload.length > MAX_BATCH_BYTES) {
    return { ok: false, reason: "TooLarge", message: `a batch of ${payload.length} bytes, more than ${MAX_BATCH_BYTES}` };
  }
  let batch: ReportBatch;
  try {
    batch = ReportBatch.decode(payload);
  } catch {
    return { ok: false, reason: "NotDecodable", message: `a batch of ${payload.length} bytes that does not decode` };
  }
  if (batch.nodeId !== nodeId) {
    return { ok: false, reason: "WrongNode", message: `a batch in the name of ${JSON.stringify(batch.nodeId.slice(0, 64))}` };
  }
  if (batch.outboxEpoch.length !== OUTBOX_EPOCH_BYTES || !Number.isSafeInteger(batch.seq) || batch.seq < 1) {
    return { ok: false, reason: "NotDecodable", message: "a batch without an outbox epoch of 8 bytes and a seq from 1" };
  }
  return { ok: true, batch, digest: hash("sha256", payload, "buffer").readUIntBE(0, 6) };
}

export interface LoggedReport {
  readonly nodeId: string;
  /** Hex. */
  readonly outboxEpoch: string;
  readonly seq: number;
  readonly batch: ReportBatch;
  readonly row: number;
  readonly atMs: number;
}

/** Every report after the row, once. */
export async function* readReports(log: Pick<ReportLog, "read">, afterRow = 0): AsyncGenerator<LoggedReport> {
  const seen = new Map<string, Set<number>>();
  for await (const { row, atMs, messages } of log.read(afterRow)) {
    for (const message of messages) {
      const reading = readBatch(message);
      if (!reading.ok) continue;
      const { nodeId, seq } = reading.batch;
      const outboxEpoch = reading.batch.outboxEpoch.toString("hex");
      const key = `${nodeId}/${outboxEpoch}`;
      const seqs = seen.get(key) ?? new Set();
      seen.set(key, seqs);
      if (seqs.has(seq)) continue;
      seqs.add(seq);
      yield { nodeId, outboxEpoch, seq, batch: reading.batch, row, atMs };
    }
  }
}

/** "node/epoch" to how many different seqs the log holds of it, and the lowest and highest. */
export async function countReports(
  log: ReportLog,
): Promise<ReadonlyMap<string, { readonly count: number; readonly first: number; readonly last: number }>> {
  const counts = new Map<string, { count: number; first: number; last: number }>();
  for await (const { nodeId, outboxEpoch, seq } of readReports(log)) {
    const key = `${nodeId}/${outboxEpoch}`;
    const known = counts.get(key);
    if (known === undefined) counts.set(key, { count: 1, first: seq, last: seq });
    else counts.set(key, { count: known.count + 1, first: Math.min(known.first, seq), last: Math.max(known.last, seq) });
  }
  return counts;
}
