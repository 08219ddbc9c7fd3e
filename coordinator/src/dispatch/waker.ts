/**
 * Level-triggered wake-ups: as long as a node has not acted on what was decided for it, it is hinted again, ever more slowly and with jitter.
 * Losing a hint loses nothing; a node that does not listen costs one hint in five minutes.
 */
import { type Clock, jittered, type Random, sleep } from "@drover/lifecycle";
import type { Bus } from "../bus/bus.ts";
import type { FleetView } from "../fleet/fleet.ts";
import type { DesiredNode } from "../records.ts";
import { isOlder } from "./planned-steps.ts";

const TICK_MS = 1_000;
const FIRST_AGAIN_MS = 5_000;
const SLOWEST_MS = 5 * 60_000;
const MAX_WAKES_PER_TICK = 200;

interface Outstanding {
  readonly generation: number;
  readonly planEpoch: number;
  attempts: number;
  dueAtMs: number;
}

export interface WakerParts {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: FleetView;
  readonly desired: () => Iterable<DesiredNode>;
  /** Whether the node is in a session already, where it is told directly. */
  readonly isLive: (nodeId: string) => boolean;
  /** Nobody to be woken: revoked, or without what it takes. */
  readonly isBarred: (nodeId: string) => boolean;
}

export class Waker {
  readonly #parts: WakerParts;
  readonly #outstanding = new Map<string, Outstanding>();
  #sent = 0;

  constructor(parts: WakerParts) {
    this.#parts = parts;
  }

  /** Hints sent since the start. */
  get sentCount(): number {
    return this.#sent;
  }

  /** Nodes that have not acted on what was decided for them. */
  get outstandingCount(): number {
    return this.#outstanding.size;
  }

  /** Something was decided just now. */
  decided(desired: DesiredNode): void {
    const { clock } = this.#parts;
    this.#outstanding.set(desired.nodeId, {
      generation: desired.generation,
      planEpoch: desired.planEpoch,
      attempts: 0,
      dueAtMs: clock.monotonicMs(),
    });
    this.#wakeDue();
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#look();
      this.#wakeDue();
      await sleep(this.#parts.clock, TICK_MS, signal).catch(() => undefined);
    }
  }

  #look(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    const seen = new Set<string>();
    for (const desired of this.#parts.desired()) {
      if (this.#hasActed(desired)) continue;
      seen.add(desired.nodeId);
      const held = this.#outstanding.get(desired.nodeId);
      if (held !== undefined && !isOlder(held, desired)) continue;
      const { planEpoch, generation } = desired;
      this.#outstanding.set(desired.nodeId, { planEpoch, generation, attempts: 0, dueAtMs: nowMs + this.#parts.random.unit() * TICK_MS });
    }
    for (const nodeId of this.#outstanding.keys()) if (!seen.has(nodeId)) this.#outstanding.delete(nodeId);
  }

  #hasActed(desired: DesiredNode): boolean {
    const observed = this.#parts.fleet.node(desired.nodeId);
    if (observed === undefined) return false;
    if (!isOlder({ planEpoch: observed.planEpoch, generation: observed.observedGeneration }, desired)) return true;
    return observed.planEpoch === desired.planEpoch && observed.beatGeneration >= desired.generation;
  }

  #wakeDue(): void {
    const { bus, clock, random, isBarred, isLive } = this.#parts;
    const nowMs = clock.monotonicMs();
    let left = MAX_WAKES_PER_TICK;
    for (const [nodeId, held] of this.#outstanding) {
      if (held.dueAtMs > nowMs) continue;
      if (left === 0) return;
      held.dueAtMs = nowMs + jittered(random, Math.min(SLOWEST_MS, FIRST_AGAIN_MS * 2 ** held.attempts), 0.2);
      held.attempts += 1;
      if (isBarred(nodeId) || isLive(nodeId)) continue;
      left -= 1;
      this.#sent += 1;
      bus.wake(nodeId, { generation: held.generation, delayMs: 0, sessionWanted: false });
    }
  }
}
