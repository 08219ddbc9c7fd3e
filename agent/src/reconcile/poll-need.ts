/**
 * Whether a poll that is due would find anything. A coordinator wakes a node until it has acted on all that was decided since both conversed,
 * so that a poll is needed only of another start of it, when it was not heard on the bus lately, and after hours, should all of this be wrong.
 */
import type { Clock } from "@drover/lifecycle";
import type { Budget } from "@drover/proto";

/** One may be lost. */
const MISSED_BUDGETS = 2;
/** Those that began together have spread by then: each looks at times of its own. */
const LONGEST_REST_MS = 12 * 3_600_000;

export class PollNeed {
  readonly #clock: Clock;
  #conversedWith = 0;
  #restUntilMs = 0;
  #heard = { start: 0, untilMs: 0 };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isSpared(): boolean {
    const nowMs = this.#clock.monotonicMs();
    return (
      this.#conversedWith !== 0 && this.#heard.start === this.#conversedWith && nowMs < this.#heard.untilMs && nowMs < this.#restUntilMs
    );
  }

  /** @param budget of the Welcome; an older coordinator sends none */
  greeted(budget: Budget | undefined): void {
    this.#conversedWith = budget?.coordinatorStart ?? 0;
    if (budget !== undefined) this.heard(budget);
    this.#restUntilMs = this.#clock.monotonicMs() + LONGEST_REST_MS;
  }

  /** On the bus, where wake-ups arrive if this does; and in the Welcome, as the first on the bus may be one budget's time away. */
  heard({ coordinatorStart, againWithinMs }: Budget): void {
    this.#heard = { start: coordinatorStart, untilMs: this.#clock.monotonicMs() + MISSED_BUDGETS * againWithinMs };
  }
}
