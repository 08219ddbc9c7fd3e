/** What every Store checks before it touches anything; a violation is a bug of the caller, so it throws. */
import type { StoreOperation } from "./store.ts";

/** A commit of a large rollout is one fsync for all of them; applying as many takes SQLite some 10 ms. An etcd would be started with `--max-txn-ops` of as many. */
export const MAX_OPERATIONS = 500;

/** Printable ASCII, so that every adapter sorts keys alike. */
const KEY = /^[\x21-\x7e]{1,512}$/;

/** Sorts after every key that starts with a prefix it is appended to. */
export const AFTER_ANY_KEY = "\x7f";

/** @throws RangeError on more than MAX_OPERATIONS, an unfit key or a key named twice */
export function checkOperations(operations: readonly StoreOperation[]): void {
  if (operations.length > MAX_OPERATIONS) {
    throw new RangeError(`a commit holds at most ${MAX_OPERATIONS} operations, this one ${operations.length}`);
  }
  const seen = new Set<string>();
  for (const { key } of operations) {
    if (!KEY.test(key)) throw new RangeError(`store key ${JSON.stringify(key.slice(0, 80))} is not 1 to 512 printable ASCII characters`);
    if (seen.has(key)) throw new RangeError(`store key ${key} is named twice in one commit`);
    seen.add(key);
  }
}
