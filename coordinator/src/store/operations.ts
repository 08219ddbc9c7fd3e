/** What every Store checks before it touches anything; a violation is a bug of the caller, so it throws. */
import type { StoreOperation } from "./store.ts";

export const MAX_OPERATIONS = 100;

/** Printable ASCII, so that every adapter sorts keys alike. */
const KEY = /^[\x21-\x7e]{1,512}$/;

/** Sorts after every key that starts with a prefix it is appended to. */
export const AFTER_ANY_KEY = "\x7f";

/** @throws RangeError on more than 100 operations, an unfit key or a key named twice */
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
