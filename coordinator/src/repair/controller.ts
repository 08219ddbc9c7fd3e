/**
 * Carries repairs out: reads, asks decideRepairs(), commits with the revisions it read, and only then asks nodes. Whatever was begun stands in the Repair
 * object before it is begun, so that a coordinator that starts in the middle goes on from there, and a second one loses every write.
 */
import { type Log, type Random, sleep, withDeadline } from "@drover/lifecycle";
import type { DesiredNode } from "../records.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { decideRepairs } from "./decide-repairs.ts";
import type { RepairDecision } from "./model.ts";
import { RepairErrands } from "./errands.ts";
import type { NodeSideParts } from "./node-side.ts";
import { type RepairsSeen, RepairWriting } from "./writing.ts";
import { repairsInput, type SituationParts } from "./situation.ts";
import { hasEnded } from "./standing.ts";
import { VerdictHistory } from "./verdict-history.ts";

/** Passes are at least this far apart. */
const PASS_INTERVAL_MS = 500;
/** Looked at again although nothing was noticed: beats are not told. */
const RESYNC_MS = 5_000;
/** After an old backup was accepted, nodes first tell which of them are in change. */
const LEARNING_MS = 60_000;
const CATCH_UP_DEADLINE_MS = 10_000;

export interface RepairControllerParts extends Omit<SituationParts, "verdicts">, NodeSideParts {
  /** Monotonic milliseconds until which nothing is decided, as a node may know more than the store; left out: never. */
  readonly heldUntilMs?: () => number;
  readonly store: Store;
  readonly random: Random;
  readonly log: Log;
  /** Committed: the node may be told now. */
  readonly decided: (desired: DesiredNode) => void;
}

/** For metrics and people: nodes that remediation passes over, by why. */
export interface RemediationHeld {
  readonly byReason: ReadonlyMap<string, number>;
}

export class RepairController {
  readonly #parts: RepairControllerParts;
  readonly #verdicts: VerdictHistory;
  readonly #writing: RepairWriting;
  readonly #errands: RepairErrands;
  #held: RemediationHeld = { byReason: new Map() };
  #isDirty = true;
  #wake: (() => void) | undefined;
  #askAgainAtMs: number | undefined;

  constructor(parts: RepairControllerParts) {
    this.#parts = parts;
    this.#verdicts = new VerdictHistory(parts.fleet, parts.catalog.numbers, parts.clock);
    this.#writing = new RepairWriting(parts, (operations) => this.#commit(operations));
    this.#errands = new RepairErrands(parts, this.#writing, () => this.look());
  }

  get held(): RemediationHeld {
    return this.#held;
  }

  /** Something changed that decisions depend on. */
  look(): void {
    this.#isDirty = true;
    this.#wake?.();
  }

  /** Until the signal aborts. @throws when the store fails */
  async run(signal: AbortSignal): Promise<void> {
    const { catalog, fleet, clock } = this.#parts;
    const look = (): void => this.look();
    const stops = [catalog.onChange(look), fleet.onChange(look), this.#verdicts.follow()];
    signal.addEventListener("abort", look, { once: true });
    try {
      while (!signal.aborted) {
        await this.#pause();
        if (signal.aborted) break;
        await this.#pass(signal);
        await sleep(clock, PASS_INTERVAL_MS, signal).catch(() => undefined);
      }
    } finally {
      signal.removeEventListener("abort", look);
      for (const stop of stops) stop();
      await this.#errands.ended();
    }
  }

  async #pause(): Promise<void> {
    const { clock } = this.#parts;
    const restMs = Math.min(RESYNC_MS, (this.#askAgainAtMs ?? Infinity) - clock.now());
    if (!this.#isDirty && restMs > 0) {
      let cancel: () => void = () => undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        cancel = clock.setTimer(restMs, resolve);
      });
      cancel();
      this.#wake = undefined;
    }
    this.#isDirty = false;
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { catalog, clock } = this.#parts;
    this.#askAgainAtMs = undefined;
    this.#held = { byReason: new Map() };
    if (this.#isStandingStill() || !this.#isAnybodyConcerned()) return;
    const now = clock.now();
    const seen = this.#writing.look();
    const decisions = decideRepairs(repairsInput({ ...this.#parts, verdicts: this.#verdicts }), now);
    this.#held = heldBy(decisions);
    for (const decision of decisions) {
      if (decision.type === "askAgain") this.#askAgainAtMs = Math.min(this.#askAgainAtMs ?? Infinity, decision.atMs);
      if (catalog.restored !== undefined || signal.aborted) return;
      if (!(await this.#carryOut(decision, seen, now, signal))) {
        // Somebody else wrote first: what follows was decided from what is no more.
        this.look();
        return;
      }
    }
    await this.#writing.tellWaiting(decisions, seen, now);
    await this.#writing.prune(seen);
  }

  /** @returns false when somebody else wrote first */
  async #carryOut(decision: RepairDecision, seen: RepairsSeen, now: number, signal: AbortSignal): Promise<boolean> {
    if (decision.type === "wait" || decision.type === "askAgain") return true;
    if (decision.type === "gather") this.#errands.gather(decision, signal);
    else if (decision.type === "run") this.#errands.run(decision, signal);
    else return this.#writing.write(decision, seen, now);
    return true;
  }

  #isStandingStill(): boolean {
    const { catalog, clock } = this.#parts;
    if (catalog.restored !== undefined) return true;
    const heldMs = (this.#parts.heldUntilMs?.() ?? -Infinity) - clock.monotonicMs();
    const untilMs = Math.max((catalog.restoreAcceptedAtMs ?? -Infinity) + LEARNING_MS, clock.now() + heldMs);
    if (clock.now() >= untilMs) return false;
    this.#askAgainAtMs = untilMs;
    return true;
  }

  /** Most of the time nobody is ill: then no node is looked at. */
  #isAnybodyConcerned(): boolean {
    const { catalog } = this.#parts;
    for (const { value } of catalog.objects("Repair").values()) {
      if (!hasEnded(value) || value.status?.clearedAt === undefined) return true;
    }
    for (const { value } of catalog.maintenances.values()) if (value.owner.kind === "Repair") return true;
    if (this.#verdicts.unhealthyCount === 0) return false;
    return [...catalog.objects("NodeSet").values()].some(({ value }) => value.spec.remediation?.enabled === true);
  }

  /** @returns the revision; undefined: somebody else wrote first */
  async #commit(operations: readonly StoreOperation[]): Promise<number | undefined> {
    const { store, catalog, clock } = this.#parts;
    const committed = await store.commit(operations);
    if (!committed.ok) return undefined;
    await withDeadline(clock, "following the store", CATCH_UP_DEADLINE_MS, undefined, () => catalog.reached(committed.revision));
    return committed.revision;
  }
}

function heldBy(decisions: readonly RepairDecision[]): RemediationHeld {
  const byReason = new Map<string, number>();
  for (const decision of decisions) {
    if (decision.type !== "wait" || decision.repair !== undefined) continue;
    byReason.set(decision.reason, (byReason.get(decision.reason) ?? 0) + 1);
  }
  return { byReason };
}
