/** Time as a port: product code never calls Date.now() or setTimeout() itself, so that tests can turn time by hand. */

export interface Clock {
  /** Unix milliseconds; may jump. For stamps and expiry, never for measuring. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes back. For measuring. */
  monotonicMs(): number;
  /** Calls `fire` once after delayMs; the returned function cancels. */
  setTimer(delayMs: number, fire: () => void): () => void;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(delayMs, fire) {
    const timer = setTimeout(fire, Math.min(delayMs, 0x7fffffff));
    return () => clearTimeout(timer);
  },
};

/** Resolves after ms, or rejects with the signal's reason as soon as it is aborted. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason as Error);
    };
    const cancel = clock.setTimer(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
