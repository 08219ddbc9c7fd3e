/**
 * Level-triggered wake-ups: as long as a node has not acted on what was decided for it, it is hinted again, ever more slowly and with jitter.
 * Losing a hint loses nothing; a node that does not listen costs one hint in five minutes. How many are hinted at once is the window's (wake-window.ts).
 * Follows what changes; all nodes are looked at only at the start, and then a few at a time in case something was missed.
 */
import { type Clock, jittered, type Random, sleep } from "@drover/lifecycle";
import type { Bus } from "../bus/bus.ts";
import type { FleetView } from "../fleet/fleet.ts";
import type { DesiredNode } from "../records.ts";
import type { Catalog, CatalogChange } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import { isOlder } from "./planned-steps.ts";
import { WakeWindow } from "./wake-window.ts";

/** While nodes wait for their hint or are on their way. */
const BUSY_TICK_MS = 100;
const TICK_MS = 1_000;
const FIRST_AGAIN_MS = 5_000;
const SLOWEST_MS = 5 * 60_000;
const LOOKED_AT_PER_TICK = 1_000;

interface Outstanding {
  readonly nodeId: string;
  readonly generation: number;
  readonly planEpoch: number;
  attempts: number;
}

export interface WakerParts {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: FleetView;
  readonly catalog: Pick<Catalog, "desired" | "onChange">;
  /** Whether the node is in a session already, where it is told directly. */
  readonly isLive: (nodeId: string) => boolean;
  /** Nobody to be woken: revoked, or without what it takes. */
  readonly isBarred: (nodeId: string) => boolean;
  /** How many more sessions may be opened now; left out: any number. */
  readonly sessionsLeft?: (() => number) | undefined;
}

export class Waker {
  readonly #parts: WakerParts;
  readonly #outstanding = new Map<string, Outstanding>();
  /** To be hinted as soon as there is room, in order. */
  readonly #ready = new Set<Outstanding>();
  /** To be hinted again, by the second (monotonic) it is due in. */
  readonly #later = new Map<number, Outstanding[]>();
  readonly #window = new WakeWindow();
  #movedToSecond = 0;
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

  /** How many may be on their way at once. */
  get windowSize(): number {
    return this.#window.size;
  }

  /** Something was decided just now. */
  decided(desired: DesiredNode): void {
    this.#await(desired, 0);
    this.#wakeReady();
  }

  /** The node has opened or ended a session. */
  sessionChanged(nodeId: string): void {
    this.#window.arrived(nodeId);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, catalog, fleet } = this.#parts;
    const stops = [
      catalog.onChange((changes) => this.#catalogChanged(changes)),
      fleet.onChange((nodeIds) => nodeIds.forEach((nodeId) => this.#look(nodeId))),
    ];
    this.#movedToSecond = Math.floor(clock.monotonicMs() / 1000);
    for (const { value } of catalog.desired.values()) if (!this.#hasActed(value)) this.#await(value, random.unit() * TICK_MS);
    try {
      let round = catalog.desired.keys();
      while (!signal.aborted) {
        this.#wakeReady();
        const pauseMs = this.#ready.size > 0 || this.#window.underWayCount > 0 ? BUSY_TICK_MS : TICK_MS;
        const dueMs = clock.monotonicMs() + pauseMs;
        await sleep(clock, pauseMs, signal).catch(() => undefined);
        const nowMs = clock.monotonicMs();
        this.#window.look(nowMs, nowMs - dueMs);
        this.#moveDue(nowMs);
        round = this.#lookAtSome(round);
      }
    } finally {
      for (const stop of stops) stop();
    }
  }

  #catalogChanged(changes: readonly CatalogChange[]): void {
    for (const { key } of changes) if (key.startsWith(keys.allDesired)) this.#look(key.slice(keys.allDesired.length));
  }

  /** @returns where to go on */
  #lookAtSome(round: MapIterator<string>): MapIterator<string> {
    for (let looked = 0; looked < LOOKED_AT_PER_TICK; looked += 1) {
      const next = round.next();
      if (next.done === true) return this.#parts.catalog.desired.keys();
      this.#look(next.value);
    }
    return round;
  }

  #look(nodeId: string): void {
    const desired = this.#parts.catalog.desired.look(nodeId);
    if (desired === undefined || this.#hasActed(desired)) this.#forget(nodeId);
    else this.#await(desired, this.#parts.random.unit() * TICK_MS);
  }

  /** Unless it is awaited already. */
  #await(desired: DesiredNode, inMs: number): void {
    const { nodeId, planEpoch, generation } = desired;
    const held = this.#outstanding.get(nodeId);
    // The store may have told of it first, and its hint been put off; what was put off is nobody's then.
    const isToldFirst = held !== undefined && inMs === 0 && held.attempts === 0 && !isOlder(desired, held);
    if (held !== undefined && !isOlder(held, desired) && !isToldFirst) return;
    if (held !== undefined) this.#ready.delete(held);
    const outstanding: Outstanding = { nodeId, planEpoch, generation, attempts: 0 };
    this.#outstanding.set(nodeId, outstanding);
    if (inMs === 0) this.#ready.add(outstanding);
    else this.#putOff(outstanding, inMs);
  }

  #forget(nodeId: string): void {
    const held = this.#outstanding.get(nodeId);
    if (held === undefined) return;
    this.#outstanding.delete(nodeId);
    this.#ready.delete(held);
    this.#window.arrived(nodeId);
  }

  #putOff(outstanding: Outstanding, ms: number): void {
    const second = Math.max(this.#movedToSecond, Math.floor((this.#parts.clock.monotonicMs() + ms) / 1000));
    const due = this.#later.get(second);
    if (due === undefined) this.#later.set(second, [outstanding]);
    else due.push(outstanding);
  }

  #moveDue(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    for (; this.#movedToSecond < second; this.#movedToSecond += 1) {
      for (const each of this.#later.get(this.#movedToSecond) ?? []) {
        if (this.#outstanding.get(each.nodeId) === each) this.#ready.add(each);
      }
      this.#later.delete(this.#movedToSecond);
    }
  }

  #hasActed(desired: DesiredNode): boolean {
    const observed = this.#parts.fleet.node(desired.nodeId);
    if (observed === undefined) return false;
    if (!isOlder({ planEpoch: observed.planEpoch, generation: observed.observedGeneration }, desired)) return true;
    return observed.planEpoch === desired.planEpoch && observed.beatGeneration >= desired.generation;
  }

  #wakeReady(): void {
    const { bus, clock, random, catalog, isBarred, isLive, sessionsLeft } = this.#parts;
    for (const held of this.#ready) {
      const { nodeId, generation } = held;
      // A beat tells no listener.
      const desired = catalog.desired.get(nodeId)?.value;
      if (desired === undefined || this.#hasActed(desired)) {
        this.#forget(nodeId);
        continue;
      }
      const isSilent = isBarred(nodeId) || isLive(nodeId);
      if (!isSilent && (!this.#window.hasRoom || (sessionsLeft?.() ?? Infinity) <= this.#window.underWayCount)) return;
      this.#ready.delete(held);
      this.#putOff(held, jittered(random, Math.min(SLOWEST_MS, FIRST_AGAIN_MS * 2 ** held.attempts), 0.2));
      held.attempts += 1;
      if (isSilent) continue;
      this.#window.sent(nodeId, clock.monotonicMs() + FIRST_AGAIN_MS);
      this.#sent += 1;
      bus.wake(nodeId, { generation, delayMs: 0, sessionWanted: false });
    }
  }
}
