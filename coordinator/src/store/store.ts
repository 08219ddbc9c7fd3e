/** Decisions: few, strongly durable, revisioned. SQLite embedded; etcd later by the same conformance suite. */

export interface Store {
  get(key: string): Promise<StoreEntry | undefined>;
  /** Keys that start with prefix, sorted, and the revision they were read at. @param page left out: all of them */
  list(prefix: string, page?: Page): Promise<{ readonly entries: readonly StoreEntry[]; readonly revision: number }>;
  /** All or nothing, durable when resolved; at most 500 operations. */
  commit(operations: readonly StoreOperation[]): Promise<CommitResult>;
  /** Changes after fromRevision in commit order, then live. Ends when the signal aborts. */
  watch(prefix: string, fromRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch>;
  close(): Promise<void>;
}

export interface Page {
  /** Only keys behind this one, which is the prefix or begins with it. */
  readonly after: string;
  readonly limit: number;
}

export interface StoreEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Store revision of the last change of this key. */
  readonly revision: number;
}

export type StoreOperation =
  | {
      readonly type: "put";
      readonly key: string;
      readonly value: Uint8Array;
      /** 0: must not exist; undefined: whatever. */
      readonly expectedRevision?: number;
    }
  | { readonly type: "delete"; readonly key: string; readonly expectedRevision?: number };

export type CommitResult =
  | { readonly ok: true; readonly revision: number }
  | { readonly ok: false; readonly conflict: { readonly key: string; readonly actualRevision: number } };

export type WatchBatch =
  | {
      readonly type: "changes";
      readonly revision: number;
      readonly changes: readonly { readonly key: string; readonly entry: StoreEntry | undefined }[];
    }
  /** fromRevision is too old: list again, and watch from there. */
  | { readonly type: "compacted" };
