/** JSON values in the Store: one way in, one way out. */
import type { StoreEntry, StoreOperation } from "./store.ts";

/** A put of value as JSON. @param expectedRevision 0: must not exist; undefined: whatever */
export function putJson(key: string, value: object, expectedRevision?: number): StoreOperation {
  const operation = { type: "put", key, value: Buffer.from(JSON.stringify(value)) } as const;
  return expectedRevision === undefined ? operation : { ...operation, expectedRevision };
}

/** What putJson wrote. The store is ours: a caller may trust that the value is what its key says. */
export function readJson({ value: { buffer, byteOffset, byteLength } }: StoreEntry): unknown {
  return JSON.parse(Buffer.from(buffer, byteOffset, byteLength).toString("utf8"));
}
