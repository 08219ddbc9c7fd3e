/** Who was called what, of a fleet of which some die at a known moment. */
import type { Sim } from "@drover/sim";

interface Told {
  now: string;
  /** By verdict: when it was first said after the death, performance.now(). */
  readonly first: Map<string, number>;
}

export class ToldVerdicts {
  /** When the dead died, performance.now(). */
  diedAtMs = Number.POSITIVE_INFINITY;
  readonly #falselyDead = new Set<string>();
  /** Of the dead. */
  readonly #told = new Map<string, Told>();
  readonly #expected: string;

  /** Listens from now on. @param dead agents' indexes */
  constructor(sim: Sim, dead: readonly number[], hasSecondPath: boolean) {
    this.#expected = hasSecondPath ? "unhealthy Silent" : "unknown Silent";
    for (const index of dead) this.#told.set(sim.nodeId(index), { now: "", first: new Map() });
    sim.onVerdict(({ nodeId, verdict, reason, atMs }) => {
      const told = this.#told.get(nodeId);
      const isAlive = told === undefined || atMs < this.diedAtMs;
      if (isAlive && verdict === "unhealthy") this.#falselyDead.add(nodeId);
      if (told === undefined) return;
      told.now = `${verdict} ${reason}`;
      if (!isAlive && !told.first.has(verdict)) told.first.set(verdict, atMs);
    });
  }

  /** Nodes that were called dead, once at least, while they lived. */
  get falseUnhealthy(): number {
    return this.#falselyDead.size;
  }

  /** How many of the dead are told as they are now. */
  get found(): number {
    return [...this.#told.values()].filter(({ now }) => now === this.#expected).length;
  }

  /** Seconds from death to the first verdict that is meant, of each of the dead, sorted; Infinity: it was never said. */
  secondsTo(isMeant: (verdict: string) => boolean): readonly number[] {
    const firstOf = (first: ReadonlyMap<string, number>): number =>
      Math.min(...[...first].flatMap(([verdict, atMs]) => (isMeant(verdict) ? [atMs] : [])));
    return [...this.#told.values()].map(({ first }) => (firstOf(first) - this.diedAtMs) / 1_000).toSorted((a, b) => a - b);
  }
}
