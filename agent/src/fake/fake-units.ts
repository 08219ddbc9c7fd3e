/** systemd's units as a set of active names. */
import type { Units } from "../host/host.ts";
import type { EffectLog } from "./effect-log.ts";

export class FakeUnits implements Units {
  readonly #effects: EffectLog;
  /** By the test's hand: false where systemd does not run. */
  canRebootNow = true;
  readonly #active: Set<string>;
  readonly #onRestart: (unit: string) => void;

  constructor(effects: EffectLog, active: readonly string[], onRestart: (unit: string) => void) {
    this.#effects = effects;
    this.#active = new Set(active);
    this.#onRestart = onRestart;
  }

  /** By the test's hand. */
  setActive(unit: string, isActive: boolean): void {
    if (isActive) this.#active.add(unit);
    else this.#active.delete(unit);
  }

  async restart(unit: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("units.restart", unit);
    this.#active.delete(unit);
    this.#onRestart(unit);
    this.#active.add(unit);
  }

  async stop(unit: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("units.stop", unit);
    this.#active.delete(unit);
  }

  async enable(unit: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("units.enable", unit);
  }

  async isActive(unit: string, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    this.#effects.assertAlive();
    return this.#active.has(unit);
  }

  async canReboot(signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    this.#effects.assertAlive();
    return this.canRebootNow;
  }

  async reboot(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("units.reboot", "");
  }

  async daemonReload(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("units.daemonReload", "");
  }
}
