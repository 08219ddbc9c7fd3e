/** When the engine works: an accepted plan at once, a failed one again with backoff, drift every so often with jitter. */
import { type Clock, jittered, type Random } from "@drover/lifecycle";
import { Bell } from "./bell.ts";
import type { Engine } from "./engine.ts";
import type { Turns } from "./turns.ts";
import { isUnfinished } from "./journal-state.ts";

export interface ReconcileIntervals {
  readonly driftScanMs: number;
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
}

export interface ReconcileParts {
  readonly engine: Pick<Engine, "apply" | "scan" | "undo" | "msUntilUndo" | "unconfirmed" | "journal" | "isCancelled">;
  readonly clock: Clock;
  readonly random: Random;
  readonly intervals: ReconcileIntervals;
  /** Rungs take theirs between passes; an undo waits for nobody, and no rung is begun while one may be due. */
  readonly turns: Turns;
  /** Called when a pass has ended. */
  readonly onPass: (signal: AbortSignal) => Promise<void>;
}

const LOOK_AGAIN_MS = 5_000;
const UNDO_AGAIN_MS = 5_000;

export class ReconcileLoop {
  readonly #parts: ReconcileParts;
  readonly #bell: Bell;
  /** Nothing before these, in monotonic ms: at the start both are due. */
  #retryAtMs = 0;
  #scanAtMs = 0;
  #undoAtMs = 0;

  constructor(parts: ReconcileParts) {
    this.#parts = parts;
    this.#bell = new Bell(parts.clock);
  }

  /** A plan was accepted or cancelled. */
  wake(): void {
    this.#bell.ring();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { engine, clock, turns, onPass } = this.#parts;
    while (!signal.aborted) {
      const nowMs = clock.monotonicMs();
      const leftMs = await engine.msUntilUndo();
      // A scan may repair by pulling for hours: nothing may be in the way of an undo (I4).
      const isAwaiting = leftMs !== undefined && leftMs > 0;
      const isHeld = engine.unconfirmed !== undefined && !engine.isCancelled;
      if (leftMs !== undefined && leftMs <= 0 && nowMs >= this.#undoAtMs) {
        await engine.undo(signal);
        this.#undoAtMs = clock.monotonicMs() + jittered(this.#parts.random, UNDO_AGAIN_MS, 0.3);
        this.#planRetry();
        await onPass(signal);
      } else if ((leftMs === undefined || leftMs > 0) && !isHeld && this.#isApplyDue(nowMs)) {
        await turns.hold(signal, () => engine.apply(signal));
        this.#planRetry();
        await onPass(signal);
      } else if (nowMs >= this.#scanAtMs && !isAwaiting) {
        await turns.hold(signal, () => engine.scan(signal));
        this.#scanAtMs = clock.monotonicMs() + jittered(this.#parts.random, this.#parts.intervals.driftScanMs, 0.2);
        await onPass(signal);
      } else {
        const isRetryPlanned = isUnfinished(engine.journal.accepted);
        const scanAtMs = isAwaiting ? Infinity : this.#scanAtMs;
        const nextMs = isRetryPlanned && !isHeld ? Math.min(scanAtMs, Math.max(this.#retryAtMs, nowMs)) : scanAtMs;
        // The boot-time clock goes on while the machine is suspended, our timers do not: looked at now and then.
        const undoMs = leftMs === undefined ? Infinity : leftMs > 0 ? Math.min(leftMs, LOOK_AGAIN_MS) : this.#undoAtMs - nowMs;
        const isUndoDue = leftMs !== undefined && leftMs <= 0;
        await this.#bell.wait(Math.max(1, Math.min(isUndoDue ? this.#scanAtMs - nowMs : nextMs - nowMs, undoMs)), signal);
      }
    }
  }

  #isApplyDue(nowMs: number): boolean {
    const { engine } = this.#parts;
    const { accepted } = engine.journal;
    if (!isUnfinished(accepted)) return false;
    return accepted.ending === undefined || engine.isCancelled || nowMs >= this.#retryAtMs;
  }

  #planRetry(): void {
    const { engine, clock, random, intervals } = this.#parts;
    const { accepted } = engine.journal;
    const nowMs = clock.monotonicMs();
    // What was just enforced was just read back.
    if (accepted?.ending?.outcome === "enforced") this.#scanAtMs = nowMs + jittered(random, intervals.driftScanMs, 0.2);
    if (accepted?.ending?.outcome === "rejected") this.#scanAtMs = nowMs;
    if (!isUnfinished(accepted)) return;
    const delayMs = Math.min(intervals.retryMaxMs, intervals.retryBaseMs * 2 ** Math.max(0, accepted.failures - 1));
    this.#retryAtMs = nowMs + jittered(random, delayMs, 0.3);
  }
}
