/** A Store in memory: for tests and simulation. Deterministic: everything happens in the caller's turn. */
import { type History, type HistoryRow, Wakers, watchHistory } from "./history.ts";
import { checkOperations } from "./operations.ts";
import type { CommitResult, Store, StoreEntry, StoreOperation } from "./store.ts";

/** @param options.historyRevisions how many revisions a watch can go back */
export function memoryStore(options: { readonly historyRevisions?: number } = {}): Store {
  const historyRevisions = options.historyRevisions ?? 10_000;
  const entries = new Map<string, StoreEntry>();
  let rows: HistoryRow[] = [];
  let revision = 0;
  let compactedRevision = 0;
  const wakers = new Wakers();
  const history: History = {
    wakers,
    revision: () => revision,
    compactedRevision: () => compactedRevision,
    rows: (prefix, after, to, limit) => {
      const found: HistoryRow[] = [];
      for (let index = firstAfter(rows, after); index < rows.length && found.length < limit; index += 1) {
        const row = rows[index]!;
        if (row.revision <= to && row.key.startsWith(prefix)) found.push(row);
      }
      return found;
    },
  };

  function commit(operations: readonly StoreOperation[]): CommitResult {
    checkOperations(operations);
    for (const { key, expectedRevision } of operations) {
      const actualRevision = entries.get(key)?.revision ?? 0;
      if (expectedRevision !== undefined && expectedRevision !== actualRevision) return { ok: false, conflict: { key, actualRevision } };
    }
    const effective = operations.filter((operation) => operation.type === "put" || entries.has(operation.key));
    if (effective.length === 0) return { ok: true, revision };
    revision += 1;
    for (const operation of effective) {
      const { key } = operation;
      const entry = operation.type === "put" ? { key, value: Buffer.from(operation.value), revision } : undefined;
      if (entry === undefined) entries.delete(key);
      else entries.set(key, entry);
      rows.push({ revision, key, entry });
    }
    // With a tenth of slack, so that not every commit pays for copying the rest.
    if (revision - compactedRevision > historyRevisions * 1.1) {
      compactedRevision = revision - historyRevisions;
      rows = rows.slice(firstAfter(rows, compactedRevision));
    }
    wakers.wake();
    return { ok: true, revision };
  }

  const whileOpen = (): void => {
    if (wakers.isClosed) throw new Error("the store is closed");
  };

  return {
    // async, so that what throws rejects.
    async get(key) {
      whileOpen();
      return entries.get(key);
    },
    async list(prefix, page = { after: "", limit: Infinity }) {
      whileOpen();
      const found = [...entries.values()].filter(({ key }) => key.startsWith(prefix) && key > page.after);
      return { entries: found.sort((a, b) => (a.key < b.key ? -1 : 1)).slice(0, page.limit), revision };
    },
    async commit(operations) {
      whileOpen();
      return commit(operations);
    },
    watch: (prefix, fromRevision, signal) => watchHistory(history, prefix, fromRevision, signal),
    async close() {
      wakers.close();
    },
  };
}

function firstAfter(rows: readonly HistoryRow[], revision: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle]!.revision <= revision) low = middle + 1;
    else high = middle;
  }
  return low;
}
