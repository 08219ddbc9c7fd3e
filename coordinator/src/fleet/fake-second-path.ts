/** A second path for tests: answers what it is told after 10 s, for those nodes it is told of. */
import { type Clock, sleep } from "@drover/lifecycle";
import type { Evidence, SecondPath } from "./second-path.ts";

const ANSWER_AFTER_MS = 10_000;

export class FakeSecondPath implements SecondPath {
  readonly answers = new Map<string, Evidence | Error>();
  readonly asked: { readonly nodeId: string; readonly atMs: number }[] = [];
  /** It never answers, whatever the signal says. */
  isHanging = false;
  /** Questions that were broken off. */
  broken = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  hasPath(nodeId: string): boolean {
    return this.answers.has(nodeId);
  }

  async ask(nodeId: string, signal: AbortSignal): Promise<Evidence> {
    this.asked.push({ nodeId, atMs: this.#clock.monotonicMs() });
    if (this.isHanging) return new Promise(() => undefined);
    await sleep(this.#clock, ANSWER_AFTER_MS, signal).catch((error: unknown) => {
      this.broken += 1;
      throw error;
    });
    const answer = this.answers.get(nodeId) ?? "none";
    if (answer instanceof Error) throw answer;
    return answer;
  }
}
