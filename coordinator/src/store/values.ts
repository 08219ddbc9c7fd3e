/** JSON values in the Store: one way in, one way out. */
import type { StoreEntry, StoreOperation } from "./store.ts";

/** A put of value as JSON. @param expectedRevision 0: must not exist; undefined: whatever */
export function putJson(key: string, value: object, expectedRevision?: number): StoreOperation {
  const operation = { type: "put", key, value: Buffer.from(JSON.stringify(value)) } as const;
  return expectedRevision === undefined ? operation : { ...operation, expectedRevision };
}

/** What putJson wrote. The store is ours: its values are trusted to be what their key says. */
export function readJson<T>(entry: StoreEntry): T {
  return JSON.parse(Buffer.from(entry.value).toString("utf8")) as T;
}
