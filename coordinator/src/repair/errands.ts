/**
 * What repairs ask of nodes, under way at the same time: one errand for each attempt, and its answer written into the Repair. A coordinator that dies with
 * errands under way asks again with the same request; the node does it once.
 */
import type { Clock, Log } from "@drover/lifecycle";
import type { Catalog } from "../resources/catalog.ts";
import { rungFailed } from "./ladder.ts";
import type { RepairDecision } from "./model.ts";
import { askRung, gatherEvidence, type NodeSideParts, type RungAnswer } from "./node-side.ts";
import { done, judged, withEvidence } from "./progress.ts";
import { millis } from "./standing.ts";
import type { RepairWriting } from "./writing.ts";

const ASK_AGAIN_MS = 10_000;
/** A node that cannot be reached for so long is not asked any more. */
const REACH_MS = 120_000;

export interface ErrandParts extends NodeSideParts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly log: Log;
}

type Decided<T extends RepairDecision["type"]> = Extract<RepairDecision, { type: T }>;

export class RepairErrands {
  readonly #parts: ErrandParts;
  readonly #writing: Pick<RepairWriting, "answer">;
  readonly #changed: () => void;
  readonly #underWay = new Map<string, Promise<void>>();
  /** By request: since when its node could not be reached, each time that it was asked; monotonic. */
  readonly #unreachableSince = new Map<string, number>();
  /** By request: when it may be put again, monotonic. */
  readonly #again = new Map<string, number>();

  constructor(parts: ErrandParts, writing: Pick<RepairWriting, "answer">, changed: () => void) {
    this.#parts = parts;
    this.#writing = writing;
    this.#changed = changed;
  }

  gather(decision: Decided<"gather">, signal: AbortSignal): void {
    const { repair, evidence } = decision;
    if (this.#mustRest(evidence)) return;
    this.#start(`gather ${evidence}`, signal, async () => {
      const attempts = this.#attemptsOf(repair);
      const id = await this.#gathered(decision, signal);
      if (id !== undefined) await this.#writing.answer(repair, attempts, (_repair, status) => withEvidence(status, id));
    });
  }

  run(decision: Decided<"run">, signal: AbortSignal): void {
    const { repair: name, nodeId, rung, requestId } = decision;
    const { clock, log } = this.#parts;
    if (this.#mustRest(requestId)) return;
    this.#start(`run ${requestId}`, signal, async () => {
      const attempts = this.#attemptsOf(name);
      const answer = await askRung(this.#parts.requests, decision, signal);
      log.info({ node: nodeId, repair: name, rung, answer: answer.is, message: answer.message }, "a node answered a rung of its repair");
      await this.#writing.answer(name, attempts, (repair, status) => {
        const now = clock.now();
        const last = status.attempts.at(-1)!;
        if (last.doneAt !== undefined || last.outcome !== "Running") return status;
        if (answer.is === "done") return done(status, answer.message, now);
        if (answer.is === "failed" || this.#isLost(requestId, answer)) return judged(status, rungFailed(repair, answer.message, now), now);
        return status;
      });
      if (answer.is === "unknown") this.#again.set(requestId, clock.monotonicMs() + ASK_AGAIN_MS);
      else {
        this.#again.delete(requestId);
        this.#unreachableSince.delete(requestId);
      }
    });
  }

  /** Resolves when none is under way. */
  async ended(): Promise<void> {
    await Promise.all(this.#underWay.values());
  }

  /** @returns the id; empty: it cannot be stored, which must not keep a node ill for ever; undefined: to be tried again */
  async #gathered({ repair, nodeId, evidence }: Decided<"gather">, signal: AbortSignal): Promise<string | undefined> {
    const { catalog, clock, log } = this.#parts;
    try {
      await gatherEvidence(this.#parts, nodeId, evidence, signal);
      return evidence;
    } catch (error) {
      if (signal.aborted) return undefined;
      log.error({ node: nodeId, repair, err: error }, "evidence could not be stored");
      this.#again.set(evidence, clock.monotonicMs() + ASK_AGAIN_MS);
      const startedMs = millis(catalog.objects("Repair").get(repair)?.value.status?.attempts.at(-1)?.startedAt) ?? clock.now();
      return clock.now() >= startedMs + REACH_MS ? "" : undefined;
    }
  }

  #isLost(requestId: string, answer: RungAnswer): boolean {
    const nowMs = this.#parts.clock.monotonicMs();
    if (answer.is !== "unknown" || answer.wasReached) {
      this.#unreachableSince.delete(requestId);
      return false;
    }
    const sinceMs = this.#unreachableSince.get(requestId) ?? nowMs;
    this.#unreachableSince.set(requestId, sinceMs);
    return nowMs - sinceMs >= REACH_MS;
  }

  #mustRest(request: string): boolean {
    return (this.#again.get(request) ?? -Infinity) > this.#parts.clock.monotonicMs();
  }

  #start(key: string, signal: AbortSignal, work: () => Promise<void>): void {
    if (this.#underWay.has(key)) return;
    const errand = async (): Promise<void> => {
      try {
        await work();
      } catch (error) {
        if (!signal.aborted) this.#parts.log.error({ err: error, errand: key }, "an errand of a repair failed; it is tried again");
      } finally {
        this.#underWay.delete(key);
        this.#changed();
      }
    };
    this.#underWay.set(key, errand());
  }

  #attemptsOf(repair: string): number {
    return this.#parts.catalog.objects("Repair").get(repair)?.value.status?.attempts.length ?? 0;
  }
}
