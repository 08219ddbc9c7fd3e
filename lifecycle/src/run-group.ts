/** Components that live together: the first that ends or fails stops the rest, in reverse order of start. */

export interface Component {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
}

/**
 * Runs components until the signal aborts, one of them throws, or one ends on its own.
 * Each is aborted and awaited in reverse order, so that what was started last is stopped first.
 * @throws the first component's error, after all have ended
 */
export async function runGroup(components: readonly Component[], signal: AbortSignal): Promise<void> {
  const failures: unknown[] = [];
  const running: { controller: AbortController; ended: Promise<void> }[] = [];
  await new Promise<void>((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    signal.addEventListener("abort", () => resolve(), { once: true });
    for (const component of components) {
      const controller = new AbortController();
      const ended = component
        .run(controller.signal)
        .catch((error: unknown) => {
          if (!controller.signal.aborted) failures.push(error);
        })
        .finally(resolve);
      running.push({ controller, ended });
    }
  });
  for (const { controller, ended } of running.reverse()) {
    controller.abort(signal.reason);
    await ended;
  }
  if (failures.length > 0) throw failures[0];
}
