/** Active swaps in memory. */
import { type ActiveSwap, SwapFailed, type Swaps } from "../host/swap-port.ts";
import type { EffectLog } from "./effect-log.ts";

export interface FakeSwapsOptions {
  readonly active?: readonly ActiveSwap[];
  /** Default 8 GiB. */
  readonly availableBytes?: number;
}

export class FakeSwaps implements Swaps {
  readonly #effects: EffectLog;
  readonly #known = new Map<string, ActiveSwap>();
  readonly #active = new Map<string, ActiveSwap>();
  #availableBytes: number;

  constructor(effects: EffectLog, options: FakeSwapsOptions) {
    this.#effects = effects;
    this.#availableBytes = options.availableBytes ?? 8 * 2 ** 30;
    for (const swap of options.active ?? []) this.activate(swap);
  }

  /** By the test's hand. */
  activate(swap: ActiveSwap): void {
    this.#known.set(swap.path, swap);
    this.#active.set(swap.path, swap);
  }

  setAvailableBytes(bytes: number): void {
    this.#availableBytes = bytes;
  }

  get paths(): readonly string[] {
    return [...this.#active.keys()];
  }

  /** By the test's hand: the device or file is gone. */
  forget(path: string): void {
    this.#known.delete(path);
    this.#active.delete(path);
  }

  async list(): Promise<readonly ActiveSwap[]> {
    this.#effects.assertAlive();
    return [...this.#active.values()];
  }

  async availableBytes(): Promise<number> {
    this.#effects.assertAlive();
    return this.#availableBytes;
  }

  async off(path: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("swaps.off", path);
    this.#active.delete(path);
  }

  async on(path: string, priority: number | undefined, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("swaps.on", path, priority === undefined ? "" : String(priority));
    const swap = this.#known.get(path);
    if (swap === undefined) throw new SwapFailed(`swapon ${path} ended with 255: cannot open ${path}`);
    this.#active.set(path, { ...swap, usedBytes: 0, priority: priority ?? -2 });
  }
}
