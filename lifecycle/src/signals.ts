/** Two-stage stop: the first SIGTERM or SIGINT asks, the second (or the deadline) ends the process with 1. */

/** Asked to stop by a signal from outside. */
export class StopRequested extends Error {
  override readonly name = "StopRequested";
}

/**
 * A signal that aborts with StopRequested at the first SIGTERM or SIGINT.
 * @param hardStopMs how long an orderly stop may take before the process exits with 1
 */
export function stopSignal(hardStopMs = 30_000): AbortSignal {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(1);
    controller.abort(new StopRequested(name));
    setTimeout(() => process.exit(1), hardStopMs).unref();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return controller.signal;
}
