/** How long to wait before the next try. */
import type { Random } from "./random.ts";

export interface Backoff {
  /** Milliseconds to wait now; grows with each call. */
  nextDelayMs(): number;
  /** After a success: start again from the bottom. */
  reset(): void;
}

/** Exponential with full jitter: uniform in (0, min(maxMs, baseMs * 2^n)], never below a tenth of that. */
export function exponentialBackoff(random: Random, options: { readonly baseMs: number; readonly maxMs: number }): Backoff {
  let attempts = 0;
  return {
    nextDelayMs() {
      const ceiling = Math.min(options.maxMs, options.baseMs * 2 ** attempts);
      attempts += 1;
      return ceiling * (0.1 + 0.9 * random.unit());
    },
    reset() {
      attempts = 0;
    },
  };
}
