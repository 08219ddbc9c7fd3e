/** A token bucket per key, bounded in how many keys it remembers. */
import type { Clock } from "@drover/lifecycle";

export interface RateLimit {
  /** Takes one; false: there is none left now. */
  take(key: string): boolean;
}

/** @param options.burst how many at once; @param options.perSecond how fast they come back */
export function rateLimit(
  clock: Clock,
  options: { readonly burst: number; readonly perSecond: number; readonly maxKeys?: number },
): RateLimit {
  const buckets = new Map<string, { tokens: number; atMs: number }>();
  const maxKeys = options.maxKeys ?? 10_000;
  return {
    take(key) {
      const nowMs = clock.monotonicMs();
      const bucket = buckets.get(key) ?? { tokens: options.burst, atMs: nowMs };
      bucket.tokens = Math.min(options.burst, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * options.perSecond);
      bucket.atMs = nowMs;
      const isTaken = bucket.tokens >= 1;
      if (isTaken) bucket.tokens -= 1;
      // Deleted and set again, so that the first in the map is the one longest unused.
      buckets.delete(key);
      buckets.set(key, bucket);
      if (buckets.size > maxKeys) buckets.delete(buckets.keys().next().value!);
      return isTaken;
    },
  };
}
