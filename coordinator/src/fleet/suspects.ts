/**
 * Asks the second path about silent nodes, slowly, and remembers its answers for a short while. Beside the verdicts: those read what is known and
 * never wait for an answer.
 */
import { type Clock, type Log, sleep, withDeadline } from "@drover/lifecycle";
import type { Evidence, SecondPath } from "./second-path.ts";

export interface SuspectsParts {
  readonly path: SecondPath;
  readonly clock: Clock;
  readonly log: Log;
}

/** Questions since the start by how they ended; what was broken off because the node was heard is in none but `asked`. */
export interface QuestionCounts {
  readonly asked: number;
  readonly alive: number;
  readonly dead: number;
  readonly none: number;
}

/** Questions are put in rounds this far apart: no second of the clock has more than one round. */
const ROUND_MS = 1_000;
const QUESTIONS_PER_ROUND = 50;
/** A question takes up to half a minute: at 50 a second this is more than are ever under way unless answers hang. */
const MAX_UNDER_WAY = 1_500;
const QUESTION_DEADLINE_MS = 40_000;

interface Answer {
  readonly evidence: Evidence;
  readonly atMs: number;
}

export class Suspects {
  readonly #parts: SuspectsParts;
  readonly #answers = new Map<string, Answer>();
  readonly #underWay = new Map<string, { readonly stop: AbortController; readonly ended: Promise<void> }>();
  #suspects: ReadonlySet<string> = new Set();
  #graceMs = Infinity;
  readonly #counts = { asked: 0, alive: 0, dead: 0, none: 0 };

  constructor(parts: SuspectsParts) {
    this.#parts = parts;
  }

  get counts(): QuestionCounts {
    return this.#counts;
  }

  /** These are silent now, and no others: an answer about an earlier silence says nothing of the next one. */
  suspect(nodeIds: ReadonlySet<string>, graceMs: number): void {
    this.#suspects = nodeIds;
    this.#graceMs = graceMs;
    for (const nodeId of this.#answers.keys()) if (!nodeIds.has(nodeId)) this.#answers.delete(nodeId);
    for (const [nodeId, { stop }] of this.#underWay) {
      if (nodeIds.has(nodeId)) continue;
      this.#underWay.delete(nodeId);
      stop.abort();
    }
  }

  /** As of now; answers older than the grace are forgotten. */
  opinionOf(nodeId: string): "none" | "pending" | "alive" | "agreed" {
    const answer = this.#answers.get(nodeId);
    const isHeld = answer !== undefined && this.#parts.clock.monotonicMs() - answer.atMs <= this.#graceMs;
    if (isHeld && answer.evidence !== "none") return answer.evidence === "dead" ? "agreed" : "alive";
    return this.#parts.path.hasPath(nodeId) ? "pending" : "none";
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    while (!signal.aborted) {
      for (const nodeId of this.#next()) this.#ask(nodeId, signal);
      await sleep(clock, ROUND_MS, signal).catch(() => undefined);
    }
    await Promise.all([...this.#underWay.values()].map(({ ended }) => ended));
  }

  /** Those never asked first, then those whose answers are oldest; answers of less than half a grace are good enough. */
  #next(): readonly string[] {
    const room = Math.min(QUESTIONS_PER_ROUND, MAX_UNDER_WAY - this.#underWay.size);
    const nowMs = this.#parts.clock.monotonicMs();
    const askedAtMs = (nodeId: string): number => this.#answers.get(nodeId)?.atMs ?? -Infinity;
    return [...this.#suspects]
      .filter((nodeId) => !this.#underWay.has(nodeId) && nowMs - askedAtMs(nodeId) > this.#graceMs / 2 && this.#parts.path.hasPath(nodeId))
      .sort((a, b) => Math.sign(askedAtMs(a) - askedAtMs(b)) || (a < b ? -1 : 1))
      .slice(0, Math.max(0, room));
  }

  #ask(nodeId: string, signal: AbortSignal): void {
    const { path, clock, log } = this.#parts;
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const question = async (): Promise<void> => {
      let evidence: Evidence;
      try {
        evidence = await withDeadline(clock, "asking about a silent node", QUESTION_DEADLINE_MS, both, (ended) => path.ask(nodeId, ended));
      } catch (error) {
        if (!both.aborted) log.warn({ node: nodeId, err: error }, "a silent node could not be asked about");
        evidence = "none";
      }
      // Heard meanwhile, perhaps silent once more: this is about a silence that is over.
      if (both.aborted) return;
      this.#underWay.delete(nodeId);
      this.#counts[evidence] += 1;
      this.#answers.set(nodeId, { evidence, atMs: clock.monotonicMs() });
    };
    this.#counts.asked += 1;
    this.#underWay.set(nodeId, { stop, ended: Promise.resolve() });
    this.#underWay.set(nodeId, { stop, ended: question() });
  }
}
