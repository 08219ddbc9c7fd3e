/**
 * What webhooks have said of waves that are done. Kept in memory: a coordinator that restarts asks again. A wave that may not pass is asked
 * about again and again.
 */
import { defaultGates, parseDurationMs, type Rollout } from "@drover/api";
import type { Clock, Log } from "@drover/lifecycle";
import type { RolloutInput } from "./model.ts";
import type { AskWebhook } from "./webhook.ts";

export interface WaveGatesParts {
  readonly ask: AskWebhook;
  readonly clock: Clock;
  readonly log: Log;
  /** An answer has come. */
  readonly answered: () => void;
}

type Answers = RolloutInput["waveGates"];

const ASK_AGAIN_MS = 30_000;
const NONE: Answers = new Map();

export class WaveGates {
  readonly #parts: WaveGatesParts;
  /** By the rollout's uid and revision: a rollout of an old name is another one. */
  readonly #answers = new Map<string, Answers>();
  readonly #asking = new Set<string>();

  constructor(parts: WaveGatesParts) {
    this.#parts = parts;
  }

  answersOf(rollout: Rollout): Answers {
    return this.#answers.get(keyOf(rollout)) ?? NONE;
  }

  /** Asks unless that is under way, or was answered; answers come by answered(). */
  ask(rollout: Rollout, wave: number, signal: AbortSignal): void {
    const { ask, clock, log } = this.#parts;
    const { webhook } = rollout.spec.strategy.gates ?? defaultGates;
    const key = keyOf(rollout);
    const held = this.answersOf(rollout).get(wave);
    const isSettled = held !== undefined && (held.isPassed || clock.now() < held.atMs + ASK_AGAIN_MS);
    if (webhook === undefined || isSettled || this.#asking.has(`${key} ${wave}`)) return;
    this.#asking.add(`${key} ${wave}`);
    const { nodeSet, revision } = rollout.spec;
    const question = { rollout: rollout.metadata.name, nodeSet, wave, revision };
    void ask(webhook.url, question, parseDurationMs(webhook.timeout), signal)
      .catch((error: unknown) => ({ isPassed: false, message: `could not be asked: ${String(error)}` }))
      .then((answer) => {
        this.#asking.delete(`${key} ${wave}`);
        if (signal.aborted) return;
        log.info({ ...question, isPassed: answer.isPassed, answer: answer.message }, "webhook was asked about a wave");
        this.#answers.set(key, new Map([...this.answersOf(rollout), [wave, { ...answer, atMs: clock.now() }]]));
        this.#parts.answered();
      });
  }

  /** Asks once more about waves that did not pass. @returns when the next of them is due; undefined: none */
  askAgain(rollout: Rollout, signal: AbortSignal): number | undefined {
    let nextMs: number | undefined;
    for (const [wave, { isPassed, atMs }] of this.answersOf(rollout)) {
      if (isPassed) continue;
      const dueMs = atMs + ASK_AGAIN_MS;
      if (dueMs <= this.#parts.clock.now()) this.ask(rollout, wave, signal);
      else nextMs = Math.min(nextMs ?? Infinity, dueMs);
    }
    return nextMs;
  }

  /** Only these rollouts are still there. */
  keep(rollouts: readonly Rollout[]): void {
    const kept = new Set(rollouts.map(keyOf));
    for (const key of this.#answers.keys()) if (!kept.has(key)) this.#answers.delete(key);
  }
}

function keyOf({ metadata, spec }: Rollout): string {
  return `${metadata.name} ${metadata.uid ?? ""} ${spec.revision}`;
}
