/** Kernel modules as the steps need them. */

/** "builtin": part of the kernel itself. */
export type ModulePresence = "loaded" | "builtin";

export interface Modules {
  /** By name or alias, "-" and "_" alike; undefined: the running kernel does not have it now. */
  presence(name: string, signal: AbortSignal): Promise<ModulePresence | undefined>;
  /** @throws ModuleFailed */
  load(name: string, signal: AbortSignal): Promise<void>;
}

/** ModuleNotFound: the running kernel has none of that name on this disk. ModuleRejected: it has, and it was not loaded. */
export class ModuleFailed extends Error {
  override readonly name = "ModuleFailed";
  readonly reason: "ModuleNotFound" | "ModuleRejected";

  constructor(reason: ModuleFailed["reason"], message: string) {
    super(message);
    this.reason = reason;
  }
}
