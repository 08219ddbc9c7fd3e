/** The kernel's modules as a set of names. */
import { ModuleFailed, type ModulePresence, type Modules } from "../host/module-port.ts";
import type { EffectLog } from "./effect-log.ts";

export class FakeModules implements Modules {
  readonly #effects: EffectLog;
  readonly #present: Map<string, ModulePresence>;
  readonly #loadable: Set<string>;

  constructor(effects: EffectLog, options: FakeModulesOptions) {
    this.#effects = effects;
    this.#present = new Map((options.builtin ?? []).map((name) => [canonical(name), "builtin"]));
    this.#loadable = new Set((options.loadable ?? []).map(canonical));
  }

  /** By the test's hand. */
  unload(name: string): void {
    this.#present.delete(canonical(name));
  }

  /** Canonical names, sorted. */
  get names(): readonly string[] {
    return [...this.#present.keys()].sort();
  }

  async presence(name: string, signal: AbortSignal): Promise<ModulePresence | undefined> {
    signal.throwIfAborted();
    this.#effects.assertAlive();
    return this.#present.get(canonical(name));
  }

  async load(name: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("modules.load", name);
    if (!this.#loadable.has(canonical(name))) throw new ModuleFailed("ModuleNotFound", `${name}: the fake kernel has no such module`);
    this.#present.set(canonical(name), "loaded");
  }
}

export interface FakeModulesOptions {
  readonly builtin?: readonly string[];
  readonly loadable?: readonly string[];
}

function canonical(name: string): string {
  return name.replaceAll("-", "_");
}
