import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ReportBatch } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ReportPull } from "../bus/bus.ts";
import { memoryReportLog } from "./memory-report-log.ts";
import { countReports, readBatch } from "./report-count.ts";
import type { ReportLog } from "./report-log.ts";
import { openSqliteReportLog } from "./sqlite-report-log.ts";

const NODE = "aaaaaaaaaa";
const EPOCH = Buffer.alloc(8, 7);
const payload = (seq: number): Buffer =>
  Buffer.from(ReportBatch.encode(ReportBatch.fromPartial({ nodeId: NODE, outboxEpoch: EPOCH, seq })).finish());

function pull(incarnation: string, first: number, last: number): ReportPull {
  const sequences = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const messages = sequences.map((sequence) => ({ nodeId: NODE, payload: payload(sequence), sequence }));
  return { incarnation, firstSequence: first, lastSequence: last, messages };
}

async function rows(log: ReportLog, after = 0): Promise<{ row: number; sequences: number[] }[]> {
  const found: { row: number; sequences: number[] }[] = [];
  for await (const { row, messages } of log.read(after)) found.push({ row, sequences: messages.map((message) => message.sequence) });
  return found;
}

describe.each([
  ["in memory", () => memoryReportLog],
  ["in SQLite", (dir: string) => () => openSqliteReportLog(join(dir, "reports.db"))],
] as const)("a report log %s", (_name, opener) => {
  let dir: string;
  let log: ReportLog;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "drover-log-"));
    log = opener(dir)();
  });
  afterEach(async () => {
    await log.close();
    rmSync(dir, { recursive: true });
  });

  it("gives back what was put in, in order, and knows its position", async () => {
    expect(await log.position()).toBeUndefined();
    await log.append(pull("one", 1, 3), 10);
    await log.append(pull("one", 4, 5), 20);
    expect(await log.position()).toEqual({ incarnation: "one", sequence: 5 });
    expect(await rows(log)).toEqual([
      { row: 1, sequences: [1, 2, 3] },
      { row: 2, sequences: [4, 5] },
    ]);
    expect(await rows(log, 1)).toEqual([{ row: 2, sequences: [4, 5] }]);
  });

  it("takes a pull once, also when it comes again together with more", async () => {
    await log.append(pull("one", 1, 3), 10);
    await log.append(pull("one", 1, 3), 11);
    await log.append(pull("one", 2, 5), 12);
    expect((await rows(log)).flatMap((row) => row.sequences)).toEqual([1, 2, 3, 4, 5]);
  });

  it("takes the same sequences of another incarnation, and counts their reports once", async () => {
    await log.append(pull("one", 1, 3), 10);
    await log.append(pull("two", 1, 4), 20);
    expect(await log.position()).toEqual({ incarnation: "two", sequence: 4 });
    expect((await countReports(log)).get(`${NODE}/${EPOCH.toString("hex")}`)).toEqual({ count: 4, first: 1, last: 4 });
  });

  it("drops what is too old or too much, but never what a snapshot does not hold, nor its position", async () => {
    for (let index = 0; index < 10; index++) await log.append(pull("one", index * 100 + 1, index * 100 + 100), index);
    await log.prune({ olderThanMs: 3, maxBytes: 1e9, keepAfterRow: 100 });
    expect((await rows(log)).map((row) => row.row)).toEqual([4, 5, 6, 7, 8, 9, 10]);
    await log.prune({ olderThanMs: 0, maxBytes: 1, keepAfterRow: 6 });
    expect((await rows(log)).map((row) => row.row)).toEqual([7, 8, 9, 10]);
    await log.prune({ olderThanMs: 1e9, maxBytes: 1, keepAfterRow: 100 });
    expect((await rows(log)).map((row) => row.row)).toEqual([10]);
    expect(await log.position()).toEqual({ incarnation: "one", sequence: 1_000 });
  });
});

describe("the SQLite report log", () => {
  it("holds rows and position over a reopening, in a file for its owner only", async () => {
    const dir = mkdtempSync(join(tmpdir(), "drover-log-"));
    const path = join(dir, "reports.db");
    const first = openSqliteReportLog(path);
    await first.append(pull("one", 1, 3), 10);
    await first.prune({ olderThanMs: 100, maxBytes: 0, keepAfterRow: 100 });
    await first.close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const again = openSqliteReportLog(path);
    expect(await again.position()).toEqual({ incarnation: "one", sequence: 3 });
    await again.append(pull("one", 1, 4), 20);
    expect(await rows(again)).toEqual([
      { row: 1, sequences: [1, 2, 3] },
      { row: 2, sequences: [4] },
    ]);
    await again.close();
    rmSync(dir, { recursive: true });
  });
});

describe("readBatch", () => {
  it("believes a batch only when it is small, whole and in its sender's name", () => {
    expect(readBatch({ nodeId: NODE, payload: payload(1) })).toMatchObject({ ok: true, batch: { seq: 1 } });
    expect(readBatch({ nodeId: "bbbbbbbbbb", payload: payload(1) })).toMatchObject({ ok: false, reason: "WrongNode" });
    expect(readBatch({ nodeId: NODE, payload: Buffer.alloc(65_537) })).toMatchObject({ ok: false, reason: "TooLarge" });
    expect(readBatch({ nodeId: NODE, payload: Buffer.from([255, 255, 255]) })).toMatchObject({ ok: false, reason: "NotDecodable" });
    expect(readBatch({ nodeId: NODE, payload: payload(0) })).toMatchObject({ ok: false, reason: "NotDecodable" });
  });
});
