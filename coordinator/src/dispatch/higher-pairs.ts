/**
 * Nodes that tell a higher (plan epoch, generation) than the store has. One of them may lie; an old backup shows in several. Until several say so, that node
 * alone is left alone, and the others are asked while nothing is decided. Pure but for what it remembers.
 */
import type { Clock } from "@drover/lifecycle";

export interface Pair {
  readonly planEpoch: number;
  readonly generation: number;
}

/** How many are believed; in a small fleet half of it is. */
const BELIEVED = 3;
/** Asked to speak when the first does: enough to meet several of those whose plans a backup of yesterday lacks, if there are many. */
const ASKED = 20;
/** So long nothing is decided, while those who are asked come. */
export const ASKING_MS = 60_000;
/** A node that says it again and again does not hold up the fleet again and again. */
const ASK_AGAIN_MS = 3_600_000;

export type HigherPairVerdict =
  /** Several say so: the store is an old backup. epoch: the highest that more than one tells, or else the only one. */
  | { readonly verdict: "restored"; readonly seen: Pair; readonly nodeIds: readonly string[] }
  /** Nobody else says so yet. ask: whom to ask; empty: they were asked a while ago. */
  | { readonly verdict: "alone"; readonly isNew: boolean; readonly ask: readonly string[] };

export class HigherPairs {
  readonly #clock: Clock;
  readonly #claims = new Map<string, Pair>();
  #askedAtMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Nodes that are left alone. */
  get count(): number {
    return this.#claims.size;
  }

  /** Monotonic milliseconds until which nothing is decided. */
  get heldUntilMs(): number {
    return this.#claims.size === 0 ? -Infinity : this.#askedAtMs + ASKING_MS;
  }

  /** @param others valid nodes, this one among them; goes over the fleet, and is asked only where it matters */
  claimed(nodeId: string, seen: Pair, others: () => readonly string[]): HigherPairVerdict {
    const isNew = !this.#claims.has(nodeId);
    this.#claims.set(nodeId, seen);
    const isBelieved = (): boolean => this.#claims.size >= BELIEVED || this.#claims.size >= Math.ceil(others().length / 2);
    if (isNew && isBelieved()) {
      const restored = { verdict: "restored", seen: this.#believed(seen), nodeIds: [...this.#claims.keys()] } as const;
      // Whoever accepts the backup outranks them; after that it takes several to say so anew.
      this.#claims.clear();
      return restored;
    }
    const nowMs = this.#clock.monotonicMs();
    if (!isNew || nowMs - this.#askedAtMs < ASK_AGAIN_MS) return { verdict: "alone", isNew, ask: [] };
    this.#askedAtMs = nowMs;
    const silent = others().filter((each) => !this.#claims.has(each));
    const step = Math.max(1, Math.floor(silent.length / ASKED));
    return { verdict: "alone", isNew, ask: silent.filter((_, index) => index % step === 0).slice(0, ASKED) };
  }

  /** The node has spoken and knows no more than we do. */
  withdrawn(nodeId: string): void {
    this.#claims.delete(nodeId);
  }

  /** An epoch that one node alone tells may be invented: whoever accepts the backup would have to go above it. */
  #believed(last: Pair): Pair {
    const claims = [...this.#claims.values()].sort((a, b) => b.planEpoch - a.planEpoch || b.generation - a.generation);
    return claims.find((claim, index) => claims[index + 1]?.planEpoch === claim.planEpoch) ?? claims.at(-1) ?? last;
  }
}
