/** The report log in SQLite: one blob row and one fsync per pull. */
import { chmodSync, closeSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { ReportMessage, ReportPosition, ReportPull } from "../bus/bus.ts";
import { decodePull, encodePull, notYetLogged } from "./pull-blob.ts";
import type { ReportLog } from "./report-log.ts";

interface Row {
  readonly row: number;
  readonly at_ms: number;
  readonly messages: Uint8Array;
}

/** Rows read at a time; between two of them others get their turn. */
const READ_ROWS = 32;

/** Opens or creates the log, 0600. @throws when the file is no report log or cannot be written */
export function openSqliteReportLog(path: string): ReportLog {
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
  const db = new DatabaseSync(path);
  db.exec(`
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA busy_timeout = 5000;
    CREATE TABLE IF NOT EXISTS pulls (
      row INTEGER PRIMARY KEY AUTOINCREMENT,
      incarnation TEXT NOT NULL,
      first_sequence INTEGER NOT NULL,
      last_sequence INTEGER NOT NULL,
      at_ms INTEGER NOT NULL,
      bytes INTEGER NOT NULL,
      messages BLOB NOT NULL
    ) STRICT;
  `);
  return new SqliteReportLog(db);
}

class SqliteReportLog implements ReportLog {
  readonly #db: DatabaseSync;
  #position: ReportPosition | undefined;
  #lastRow: number;

  constructor(db: DatabaseSync) {
    this.#db = db;
    const last = db.prepare("SELECT row, incarnation, last_sequence AS sequence FROM pulls ORDER BY row DESC LIMIT 1").get();
    this.#lastRow = (last?.["row"] as number | undefined) ?? 0;
    this.#position = last === undefined ? undefined : { incarnation: last["incarnation"] as string, sequence: last["sequence"] as number };
  }

  async append(pull: ReportPull, atMs: number): Promise<number> {
    const messages = notYetLogged(pull, this.#position);
    if (messages.length === 0) return this.#lastRow;
    const blob = encodePull(messages);
    const inserted = this.#db
      .prepare("INSERT INTO pulls (incarnation, first_sequence, last_sequence, at_ms, bytes, messages) VALUES (?, ?, ?, ?, ?, ?)")
      .run(pull.incarnation, messages[0]!.sequence, pull.lastSequence, Math.trunc(atMs), blob.length, blob);
    this.#position = { incarnation: pull.incarnation, sequence: pull.lastSequence };
    this.#lastRow = Number(inserted.lastInsertRowid);
    return this.#lastRow;
  }

  async position(): Promise<ReportPosition | undefined> {
    return this.#position;
  }

  async *read(
    afterRow: number,
  ): AsyncIterable<{ readonly row: number; readonly atMs: number; readonly messages: readonly ReportMessage[] }> {
    const select = this.#db.prepare("SELECT row, at_ms, messages FROM pulls WHERE row > ? ORDER BY row LIMIT ?");
    for (let after = afterRow; ; ) {
      const rows = select.all(after, READ_ROWS) as unknown as Row[];
      for (const { row, at_ms: atMs, messages } of rows) {
        yield { row, atMs, messages: decodePull(messages) };
        after = row;
      }
      if (rows.length < READ_ROWS) return;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  async prune(options: { readonly olderThanMs: number; readonly maxBytes: number; readonly keepAfterRow: number }): Promise<void> {
    // The last row always stays: it is the position.
    const removed = this.#db
      .prepare(
        `DELETE FROM pulls WHERE row <= ? AND row < (SELECT max(row) FROM pulls) AND (at_ms < ? OR row <= coalesce((
           SELECT max(row) FROM (SELECT row, sum(bytes) OVER (ORDER BY row DESC) AS kept FROM pulls) WHERE kept > ?), 0))`,
      )
      .run(options.keepAfterRow, Math.trunc(options.olderThanMs), options.maxBytes);
    if (removed.changes === 0) return;
    this.#db.exec("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);");
  }

  async close(): Promise<void> {
    this.#db.close();
  }
}
