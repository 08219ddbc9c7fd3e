/** Watching, the same for every Store that can read its own history: a watcher holds a position and nothing else. */
import type { StoreEntry, WatchBatch } from "./store.ts";

/** One key of one commit. */
export interface HistoryRow {
  readonly revision: number;
  readonly key: string;
  /** undefined: deleted. */
  readonly entry: StoreEntry | undefined;
}

export interface History {
  revision(): number;
  /** Revisions up to this one are forgotten. */
  compactedRevision(): number;
  /** Rows of keys with this prefix after a revision and up to another, in commit order; never more than limit. */
  rows(prefix: string, afterRevision: number, toRevision: number, limit: number): readonly HistoryRow[];
  readonly wakers: Wakers;
}

/** Above MAX_OPERATIONS, so that a full page holds at least one whole commit. */
const PAGE_ROWS = 1000;

export async function* watchHistory(
  history: History,
  prefix: string,
  fromRevision: number,
  signal: AbortSignal,
): AsyncGenerator<WatchBatch, void> {
  let position = fromRevision;
  while (!signal.aborted && !history.wakers.isClosed) {
    const revision = history.revision();
    // A position ahead of us comes from a store that was since restored from a backup: what the watcher knows is not our past.
    if (position < history.compactedRevision() || position > revision) {
      yield { type: "compacted" };
      return;
    }
    if (position === revision) {
      await history.wakers.next(signal);
      continue;
    }
    const rows = history.rows(prefix, position, revision, PAGE_ROWS);
    const batches = wholeCommits(rows, rows.length === PAGE_ROWS);
    for (const batch of batches) {
      if (signal.aborted) return;
      position = batch.revision;
      yield batch;
    }
    if (rows.length < PAGE_ROWS) position = revision;
  }
}

function wholeCommits(rows: readonly HistoryRow[], isCut: boolean): Extract<WatchBatch, { type: "changes" }>[] {
  const byRevision = Map.groupBy(rows, (row) => row.revision);
  const lastRevision = rows.at(-1)?.revision;
  if (isCut && lastRevision !== undefined) byRevision.delete(lastRevision);
  return [...byRevision].map(([revision, changed]) => ({
    type: "changes",
    revision,
    changes: changed.map(({ key, entry }) => ({ key, entry })),
  }));
}

/** Those who wait for the next commit. */
export class Wakers {
  readonly #waiting = new Set<() => void>();
  #isClosed = false;

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get count(): number {
    return this.#waiting.size;
  }

  /** Resolves at the next wake, at close, or when the signal aborts. */
  next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isClosed || signal.aborted) {
        resolve();
        return;
      }
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }

  wake(): void {
    for (const wake of this.#waiting) wake();
  }

  close(): void {
    this.#isClosed = true;
    this.wake();
  }
}
