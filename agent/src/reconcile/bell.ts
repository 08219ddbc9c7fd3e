/** Something to wait on: rung from elsewhere, or after a time. A ring while nobody waits is kept. */
import type { Clock } from "@drover/lifecycle";

export class Bell {
  readonly #clock: Clock;
  #isRung = false;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ring(): void {
    this.#isRung = true;
    this.#wake?.();
  }

  /** Returns when rung, when ms have passed, or when the signal aborts. One waiter at a time. @returns whether it was rung */
  async wait(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#isRung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          cancel();
          signal.removeEventListener("abort", wake);
          resolve();
        };
        const cancel = this.#clock.setTimer(ms, wake);
        signal.addEventListener("abort", wake, { once: true });
        this.#wake = wake;
      });
      this.#wake = undefined;
    }
    const wasRung = this.#isRung;
    this.#isRung = false;
    return wasRung;
  }
}
