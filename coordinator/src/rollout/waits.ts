/** Who waits and why: the first 200 by name, all by count, and what waits for a budget worded when it is known how much of it was spent. Pure. */
import type { Budget, Place, Refusal } from "./budget.ts";
import type { Decision, FleetNode, WaitReason } from "./model.ts";

export const MAX_WAITS = 200;

interface Unworded {
  /** Index in the decisions. */
  readonly at: number;
  readonly node: FleetNode;
  readonly place: Place;
  readonly isCounted: boolean;
  readonly refusal: Refusal;
}

export class Waits {
  readonly counts: Record<string, number> = {};
  readonly #decisions: Decision[];
  readonly #unworded: Unworded[] = [];
  #told = 0;

  /** @param decisions that waits are told among */
  constructor(decisions: Decision[]) {
    this.#decisions = decisions;
  }

  tell({ nodeId, name }: FleetNode, reason: WaitReason, message: string): void {
    this.count(reason, 1);
    this.#told += 1;
    if (this.#told <= MAX_WAITS) this.#decisions.push({ type: "wait", nodeId, name, reason, message });
  }

  refuse(node: FleetNode, place: Place, isCounted: boolean, refusal: Refusal): void {
    this.tell(node, refusal, "");
    if (this.#told <= MAX_WAITS) this.#unworded.push({ at: this.#decisions.length - 1, node, place, isCounted, refusal });
  }

  /** Without a name. */
  count(reason: WaitReason, nodes: number): void {
    if (nodes > 0) this.counts[reason] = (this.counts[reason] ?? 0) + nodes;
  }

  /** @param away who is unavailable, for people */
  word(budget: Budget, away: () => string): void {
    if (this.#unworded.length === 0) return;
    const names = away();
    for (const { at, node, place, isCounted, refusal } of this.#unworded) {
      const message = budget.explain(place, isCounted, refusal, names);
      this.#decisions[at] = { type: "wait", nodeId: node.nodeId, name: node.name, reason: refusal, message };
    }
  }
}
