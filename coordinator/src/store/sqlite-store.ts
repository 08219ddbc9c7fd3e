/**
 * The embedded Store: one SQLite file. Owns its schema, durability and compaction; watching is history.ts.
 * Commits asked for in the same turn of the event loop share one fsync. Another process (an operator's command on the same machine)
 * may commit too: a waiting watch notices within half a second.
 */
import { closeSync, openSync, statSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { type Clock, systemClock } from "@drover/lifecycle";
import { type History, Wakers, watchHistory } from "./history.ts";
import { AFTER_ANY_KEY, checkOperations } from "./operations.ts";
import type { CommitResult, Page, Store, StoreEntry, StoreOperation } from "./store.ts";

const SCHEMA_VERSION = 1;
const FOREIGN_COMMIT_POLL_MS = 500;
const SCHEMA = `
  CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE history (revision INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL, value BLOB,
    PRIMARY KEY (revision, position)) WITHOUT ROWID;
  CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
  INSERT INTO head VALUES (1, 0, 0);
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** The file is no store, a damaged one, or one of a newer version; nothing was changed. */
export class StoreUnusable extends Error {
  override readonly name = "StoreUnusable";
}

export interface SqliteStoreOptions {
  readonly clock?: Clock;
  /** How many revisions a watch can go back. */
  readonly historyRevisions?: number;
  /** All of it is looked through for damage before it is opened, however large it is. A coordinator that starts reads what it needs anyway. */
  readonly isLookedThrough?: boolean;
}

/** Up to this size it is looked through in any case: a tenth of a second. */
const SMALL_BYTES = 16 * 2 ** 20;

/**
 * Opens, or makes, the store at path (mode 0600).
 * @throws StoreUnusable
 */
export function openSqliteStore(path: string, options: SqliteStoreOptions = {}): Store {
  return new SqliteStore(openDatabase(path, options.isLookedThrough === true), options);
}

function openDatabase(path: string, isLookedThrough: boolean): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    closeSync(openSync(path, "a", 0o600));
    database = new DatabaseSync(path, { timeout: 5000 });
    // A commit of a rollout touches a page for each node: at SQLite's own 1,000 pages every sixth one would move them all, and sync once more.
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8000;");
    const isSmall = statSync(path).size <= SMALL_BYTES;
    const damage = isSmall || isLookedThrough ? database.prepare("PRAGMA quick_check(1)").get()?.quick_check : "ok";
    if (damage !== "ok") throw new StoreUnusable(`${path} is damaged (${String(damage)}); restore it from a backup`);
    database.exec("BEGIN IMMEDIATE");
    const version = database.prepare("PRAGMA user_version").get()?.user_version;
    if (version === 0) database.exec(SCHEMA);
    else if (version !== SCHEMA_VERSION) {
      throw new StoreUnusable(`${path} has schema ${String(version)}, this coordinator knows ${SCHEMA_VERSION}; use the newer coordinator`);
    }
    database.exec("COMMIT");
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof StoreUnusable) throw error;
    const advice = isDamage(error) ? "; restore it from a backup" : "";
    throw new StoreUnusable(`${path} cannot be used as a store: ${(error as Error).message}${advice}`, { cause: error });
  }
}

interface PendingCommit {
  readonly operations: readonly StoreOperation[];
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
}

class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #clock: Clock;
  readonly #historyRevisions: number;
  readonly #wakers = new Wakers();
  readonly #statements: ReturnType<typeof prepare>;
  #pending: PendingCommit[] = [];
  #failure: unknown;
  #cancelPoll: (() => void) | undefined;
  #seenVersion: unknown;

  constructor(database: DatabaseSync, options: SqliteStoreOptions) {
    this.#database = database;
    this.#clock = options.clock ?? systemClock;
    this.#historyRevisions = options.historyRevisions ?? 10_000;
    this.#statements = prepare(database);
    this.#seenVersion = this.#foreignVersion();
  }

  async get(key: string): Promise<StoreEntry | undefined> {
    const row = this.#open().get.get(key);
    return row === undefined ? undefined : entryOf(row);
  }

  async list(prefix: string, page?: Page): Promise<{ readonly entries: readonly StoreEntry[]; readonly revision: number }> {
    const statements = this.#open();
    // One read transaction: another process may commit between the two statements.
    this.#database.exec("BEGIN");
    try {
      const { revision } = this.#head();
      const rows =
        page === undefined
          ? statements.list.all(prefix, prefix + AFTER_ANY_KEY)
          : statements.page.all(page.after, prefix + AFTER_ANY_KEY, page.limit);
      return { entries: rows.map(listed), revision };
    } catch (error) {
      throw isDamage(error) ? damaged(error as Error) : error;
    } finally {
      this.#database.exec("ROLLBACK");
    }
  }

  async commit(operations: readonly StoreOperation[]): Promise<CommitResult> {
    this.#open();
    checkOperations(operations);
    return new Promise((resolve, reject) => {
      this.#pending.push({ operations, resolve, reject });
      if (this.#pending.length === 1) setImmediate(() => this.#flush());
    });
  }

  watch(prefix: string, fromRevision: number, signal: AbortSignal): ReturnType<typeof watchHistory> {
    const history: History = {
      wakers: this.#wakers,
      revision: () => {
        this.#pollWhileWatched();
        return this.#head().revision;
      },
      compactedRevision: () => this.#head().compacted,
      rows: (prefix, after, to, limit) =>
        this.#statements.rows.all(after, to, prefix, prefix + AFTER_ANY_KEY, limit).map((row) => ({
          revision: row.revision as number,
          key: row.key as string,
          entry: row.value === null ? undefined : entryOf(row),
        })),
    };
    return watchHistory(history, prefix, fromRevision, signal);
  }

  async close(): Promise<void> {
    if (!this.#database.isOpen) return;
    this.#flush();
    this.#cancelPoll?.();
    this.#wakers.close();
    this.#database.close();
  }

  #open(): ReturnType<typeof prepare> {
    if (this.#failure !== undefined) throw new Error("the store failed and takes nothing more", { cause: this.#failure });
    if (this.#wakers.isClosed) throw new Error("the store is closed");
    return this.#statements;
  }

  #flush(): void {
    const group = this.#pending;
    this.#pending = [];
    if (group.length === 0) return;
    let results: CommitResult[];
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      results = group.map(({ operations }) => this.#apply(operations));
      this.#compact();
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      if (isFatal(error)) {
        // After a failed fsync nobody knows what is on the disk: watches end, and with them the coordinator.
        this.#failure = error;
        this.#wakers.close();
      }
      for (const { reject } of group) reject(error);
      return;
    }
    for (const [index, { resolve }] of group.entries()) resolve(results[index]!);
    this.#wakers.wake();
  }

  /** Looks at every expectation before it writes anything, so that a refused commit leaves nothing in the group's transaction. */
  #apply(operations: readonly StoreOperation[]): CommitResult {
    const { revisionOf, put, remove, remember, setRevision } = this.#statements;
    const current = operations.map(({ key }) => (revisionOf.get(key)?.revision as number | undefined) ?? 0);
    for (const [index, { key, expectedRevision }] of operations.entries()) {
      const actualRevision = current[index]!;
      if (expectedRevision !== undefined && expectedRevision !== actualRevision) return { ok: false, conflict: { key, actualRevision } };
    }
    const effective = operations.filter((operation, index) => operation.type === "put" || current[index] !== 0);
    const head = this.#head().revision;
    if (effective.length === 0) return { ok: true, revision: head };
    const revision = head + 1;
    for (const [position, operation] of effective.entries()) {
      const value = operation.type === "put" ? operation.value : null;
      if (value === null) remove.run(operation.key);
      else put.run(operation.key, value, revision);
      remember.run(revision, position, operation.key, value);
    }
    setRevision.run(revision);
    return { ok: true, revision };
  }

  #compact(): void {
    const { revision, compacted } = this.#head();
    // With a tenth of slack, so that not every commit deletes.
    if (revision - compacted <= this.#historyRevisions * 1.1) return;
    const upTo = revision - this.#historyRevisions;
    this.#statements.forget.run(upTo);
    this.#statements.setCompacted.run(upTo);
  }

  #head(): { revision: number; compacted: number } {
    return this.#statements.head.get() as { revision: number; compacted: number };
  }

  #foreignVersion(): unknown {
    return this.#statements.foreignVersion.get()?.data_version;
  }

  #pollWhileWatched(): void {
    if (this.#cancelPoll !== undefined) return;
    this.#cancelPoll = this.#clock.setTimer(FOREIGN_COMMIT_POLL_MS, () => {
      this.#cancelPoll = undefined;
      if (this.#wakers.isClosed || this.#wakers.count === 0) return;
      const version = this.#foreignVersion();
      if (version === this.#seenVersion) this.#pollWhileWatched();
      else {
        this.#seenVersion = version;
        this.#wakers.wake();
      }
    });
  }
}

function prepare(database: DatabaseSync) {
  return {
    get: database.prepare("SELECT key, value, revision FROM entries WHERE key = ?"),
    list: asArrays(database.prepare("SELECT key, value, revision FROM entries WHERE key >= ? AND key < ? ORDER BY key")),
    page: asArrays(database.prepare("SELECT key, value, revision FROM entries WHERE key > ? AND key < ? ORDER BY key LIMIT ?")),
    rows: database.prepare(`SELECT revision, key, value FROM history
      WHERE revision > ? AND revision <= ? AND key >= ? AND key < ? ORDER BY revision, position LIMIT ?`),
    revisionOf: database.prepare("SELECT revision FROM entries WHERE key = ?"),
    put: database.prepare(
      "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
    ),
    remove: database.prepare("DELETE FROM entries WHERE key = ?"),
    remember: database.prepare("INSERT INTO history VALUES (?, ?, ?, ?)"),
    forget: database.prepare("DELETE FROM history WHERE revision <= ?"),
    head: database.prepare("SELECT revision, compacted FROM head"),
    setRevision: database.prepare("UPDATE head SET revision = ?"),
    setCompacted: database.prepare("UPDATE head SET compacted = ?"),
    foreignVersion: database.prepare("PRAGMA data_version"),
  };
}

/** Of 100,000 rows that are read, an object for each is a third of what they cost. */
function asArrays(statement: StatementSync): StatementSync {
  statement.setReturnArrays(true);
  return statement;
}

function listed(row: unknown): StoreEntry {
  const [key, value, revision] = row as [string, Uint8Array, number];
  return entryOf({ key, value, revision });
}

function damaged(error: Error): StoreUnusable {
  return new StoreUnusable(`the store is damaged (${error.message}); restore it from a backup`, { cause: error });
}

const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** The low byte is the primary code, the rest says more. */
const primaryCode = (error: unknown): number => ((error as { errcode?: number }).errcode ?? 0) & 0xff;
const isDamage = (error: unknown): boolean => [SQLITE_CORRUPT, SQLITE_NOTADB].includes(primaryCode(error));
const isFatal = (error: unknown): boolean => primaryCode(error) === SQLITE_IOERR || isDamage(error);

function entryOf(row: Record<string, unknown>): StoreEntry {
  const { buffer, byteOffset, byteLength } = row.value as Uint8Array;
  return { key: row.key as string, value: Buffer.from(buffer, byteOffset, byteLength), revision: row.revision as number };
}
