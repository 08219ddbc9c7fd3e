/**
 * Since when each node's verdict has been what it is, as far as this coordinator has seen. In memory: after a restart every verdict is new, so that nothing
 * is repaired earlier than it should be, only later.
 */
import type { Clock } from "@drover/lifecycle";
import type { FleetView } from "../fleet/fleet.ts";
import { NodeMap, type NodeNumbers } from "../resources/node-map.ts";

interface Seen {
  readonly verdict: string;
  readonly sinceMs: number;
}

export class VerdictHistory {
  readonly #fleet: FleetView;
  readonly #clock: Clock;
  readonly #seen: NodeMap<Seen>;
  #last: Seen = { verdict: "", sinceMs: 0 };
  #unhealthy = 0;

  constructor(fleet: FleetView, numbers: NodeNumbers, clock: Clock) {
    this.#fleet = fleet;
    this.#clock = clock;
    this.#seen = new NodeMap(numbers);
  }

  /** Nodes that are unhealthy now. */
  get unhealthyCount(): number {
    return this.#unhealthy;
  }

  /** Unix milliseconds; undefined: not looked at yet. */
  sinceMs(nodeId: string): number | undefined {
    return this.#seen.get(nodeId)?.sinceMs;
  }

  /** @returns what stops following */
  follow(): () => void {
    this.#seen.clear();
    this.#unhealthy = 0;
    for (const { nodeId } of this.#fleet.nodes()) this.#look(nodeId);
    return this.#fleet.onChange((nodeIds) => {
      for (const nodeId of nodeIds) this.#look(nodeId);
    });
  }

  #look(nodeId: string): void {
    const verdict = this.#fleet.node(nodeId)?.health.verdict;
    const seen = this.#seen.get(nodeId);
    if (verdict === seen?.verdict) return;
    if (seen?.verdict === "unhealthy") this.#unhealthy -= 1;
    if (verdict === "unhealthy") this.#unhealthy += 1;
    if (verdict === undefined) this.#seen.delete(nodeId);
    else this.#seen.set(nodeId, this.#now(verdict));
  }

  /** At the start, and when a rack falls silent, it is the same for many. */
  #now(verdict: string): Seen {
    const sinceMs = this.#clock.now();
    if (this.#last.verdict !== verdict || this.#last.sinceMs !== sinceMs) this.#last = { verdict, sinceMs };
    return this.#last;
  }
}
