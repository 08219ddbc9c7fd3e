/** Deadlines: every await that can hang gets one. */
import type { Clock } from "./clock.ts";

export class DeadlineExceeded extends Error {
  override readonly name = "DeadlineExceeded";
}

/**
 * Runs work with a signal that aborts after ms (or with the parent), and does not wait longer than that even when work ignores it.
 * @throws DeadlineExceeded when ms pass first; the parent's reason when the parent aborts first
 */
export async function withDeadline<T>(
  clock: Clock,
  what: string,
  ms: number,
  parent: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const onParentAbort = (): void => controller.abort(parent?.reason);
  if (parent?.aborted) onParentAbort();
  parent?.addEventListener("abort", onParentAbort, { once: true });
  const cancel = clock.setTimer(ms, () => controller.abort(new DeadlineExceeded(`${what} took longer than ${ms} ms`)));
  try {
    return await Promise.race([work(controller.signal), rejectOnAbort(controller.signal)]);
  } finally {
    cancel();
    parent?.removeEventListener("abort", onParentAbort);
  }
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    else signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}
