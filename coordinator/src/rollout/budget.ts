/**
 * How many nodes may be in change or unavailable at once: of the set, of each value of each topology key, and of the exclusive key. Rollouts and repairs
 * count by it alike (I3). Pure; a Budget lives for one judgement.
 */
import type { Elsewhere, Labels, ResolvedStrategy } from "./model.ts";

export type Limits = Pick<ResolvedStrategy, "maxUnavailable" | "budgets" | "exclusive">;

/** Where a node stands in all keys: the index of its value in each, -1 where it has none. The same labels give the same object. */
export interface Place {
  readonly values: readonly number[];
  readonly exclusive: number;
}

/** Places by the index of their value in the first key, in the second, and so on. */
interface Branch {
  readonly next: Map<number, Branch>;
  place: Place | undefined;
}

/** The values of the keys that a strategy counts by. */
export class Topology {
  readonly #keys: readonly string[];
  readonly #exclusive: string | undefined;
  readonly #ids: readonly Map<string, number>[];
  /** By key, by value: nodes of the set. */
  readonly #sizes: number[][];
  readonly #places: Branch = { next: new Map(), place: undefined };

  constructor({ budgets, exclusive }: Pick<Limits, "budgets" | "exclusive">) {
    this.#keys = [...budgets.map(({ topologyKey }) => topologyKey), ...(exclusive === undefined ? [] : [exclusive])];
    this.#exclusive = exclusive;
    this.#ids = this.#keys.map(() => new Map());
    this.#sizes = this.#keys.map(() => []);
  }

  /** A node of the set: it counts in the size of its values, by which percentages are resolved. */
  add(labels: Labels): Place {
    const place = this.placeOf(labels);
    for (let key = 0; key < place.values.length; key += 1) {
      const value = place.values[key]!;
      if (value >= 0) this.#sizes[key]![value] = (this.#sizes[key]![value] ?? 0) + 1;
    }
    return place;
  }

  placeOf(labels: Labels): Place {
    let branch = this.#places;
    for (let key = 0; key < this.#keys.length; key += 1) {
      const id = this.#idOf(key, labels);
      let next = branch.next.get(id);
      if (next === undefined) branch.next.set(id, (next = { next: new Map(), place: undefined }));
      branch = next;
    }
    return (branch.place ??= this.#newPlace(labels));
  }

  #newPlace(labels: Labels): Place {
    const ids = this.#keys.map((_, key) => this.#idOf(key, labels));
    return { exclusive: this.#exclusive === undefined ? -1 : ids.pop()!, values: ids };
  }

  #idOf(key: number, labels: Labels): number {
    const value = labels[this.#keys[key]!];
    if (value === undefined) return -1;
    const ids = this.#ids[key]!;
    let id = ids.get(value);
    if (id === undefined) ids.set(value, (id = ids.size));
    return id;
  }

  /** How many values the key has. */
  count(key: number): number {
    return this.#ids[key]?.size ?? 0;
  }

  size(key: number, value: number): number {
    return this.#sizes[key]?.[value] ?? 0;
  }

  valueOf(key: number, id: number): string {
    return [...this.#ids[key]!.keys()][id] ?? "";
  }
}

export type Refusal = "BudgetSpent" | "TopologyBudgetSpent" | "Exclusive";

interface Tally {
  readonly unavailable: Int32Array;
  readonly changing: Int32Array;
  readonly limits: Int32Array;
}

/**
 * A node is counted once when it is in change, soaking, failed, unhealthy, unknown, or under maintenance or repair. One that is available joins only
 * while that count is below each limit; one that is counted already joins while fewer than the limit are in change.
 */
export class Budget {
  readonly #limits: Limits;
  readonly #topology: Topology;
  readonly #tallies: readonly Tally[];
  /** By value of the exclusive key: in change, here or in another set. */
  readonly #exclusive: Int32Array;
  #exclusiveValues = 0;
  unavailable = 0;
  changing = 0;

  /** @param elsewhere counts in topology keys and in the exclusive one, not in maxUnavailable */
  constructor(limits: Limits, topology: Topology, elsewhere: readonly Elsewhere[]) {
    this.#limits = limits;
    this.#topology = topology;
    const others = elsewhere.map(({ labels, isInChange }) => ({ place: topology.placeOf(labels), isInChange }));
    this.#tallies = limits.budgets.map(({ atOnce }, key) => {
      const values = topology.count(key);
      const allowed = Int32Array.from({ length: values }, (_, value) => atOnce(topology.size(key, value)));
      return { unavailable: new Int32Array(values), changing: new Int32Array(values), limits: allowed };
    });
    this.#exclusive = new Int32Array(limits.exclusive === undefined ? 0 : topology.count(limits.budgets.length));
    for (const { place, isInChange } of others) {
      this.#countByKey(place, true, isInChange);
      if (isInChange) this.#occupy(place);
    }
  }

  /** A node of the set that is unavailable as it stands. */
  count(place: Place, isInChange: boolean): void {
    this.unavailable += 1;
    if (isInChange) this.changing += 1;
    this.#countByKey(place, true, isInChange);
    if (isInChange) this.#occupy(place);
  }

  /** Why a node that is not in change may not come into it; undefined: it may. @param isCounted it is unavailable already */
  refusal(place: Place, isCounted: boolean): Refusal | undefined {
    if ((isCounted ? this.changing : this.unavailable) >= this.#limits.maxUnavailable) return "BudgetSpent";
    if (this.#spentKey(place, isCounted) >= 0) return "TopologyBudgetSpent";
    if (place.exclusive >= 0 && this.#exclusiveValues > (this.#exclusive[place.exclusive]! > 0 ? 1 : 0)) return "Exclusive";
    return undefined;
  }

  /** It comes into change. */
  take(place: Place, isCounted: boolean): void {
    if (!isCounted) this.unavailable += 1;
    this.changing += 1;
    this.#countByKey(place, !isCounted, true);
    this.#occupy(place);
  }

  /** @param names of who is unavailable, for people */
  explain(place: Place, isCounted: boolean, refusal: Refusal, names: string): string {
    const { budgets, exclusive, maxUnavailable } = this.#limits;
    switch (refusal) {
      case "BudgetSpent":
        return `${this.unavailable} unavailable, ${maxUnavailable} allowed: ${names}`;
      case "TopologyBudgetSpent": {
        const key = Math.max(0, this.#spentKey(place, isCounted));
        const value = place.values[key]!;
        const { unavailable, limits } = this.#tallies[key]!;
        return `${unavailable[value]} unavailable with ${budgets[key]!.topologyKey} ${this.#topology.valueOf(key, value)}, ${limits[value]} allowed`;
      }
      case "Exclusive": {
        // The first by name: the order in which values were met differs from call to call, and what is told must not.
        const others = [...this.#exclusive.keys()].filter((value) => this.#exclusive[value]! > 0 && value !== place.exclusive);
        const [other] = others.map((value) => this.#topology.valueOf(budgets.length, value)).sort();
        return `${exclusive} ${other} is in change, and only one ${exclusive} may be`;
      }
    }
  }

  #spentKey(place: Place, isCounted: boolean): number {
    for (let key = 0; key < this.#tallies.length; key += 1) {
      const value = place.values[key]!;
      if (value < 0) continue;
      const { unavailable, changing, limits } = this.#tallies[key]!;
      if ((isCounted ? changing : unavailable)[value]! >= limits[value]!) return key;
    }
    return -1;
  }

  #countByKey(place: Place, isNew: boolean, isInChange: boolean): void {
    for (let key = 0; key < this.#tallies.length; key += 1) {
      const value = place.values[key]!;
      if (value < 0) continue;
      const { unavailable, changing } = this.#tallies[key]!;
      if (isNew) unavailable[value]! += 1;
      if (isInChange) changing[value]! += 1;
    }
  }

  #occupy(place: Place): void {
    if (place.exclusive < 0) return;
    if (this.#exclusive[place.exclusive] === 0) this.#exclusiveValues += 1;
    this.#exclusive[place.exclusive]! += 1;
  }
}
