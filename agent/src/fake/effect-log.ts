/** The record of what was done to a fake machine, and where a test lets it die or fail. */

export interface Effect {
  /** For example "files.write", "kernel.writeSysctl", "units.restart", "commands.run", "containerd.pull". */
  readonly kind: string;
  /** What it was done to: a path, key, unit, program with arguments, image. */
  readonly target: string;
  /** With what: content, value, labels as JSON; empty when nothing. */
  readonly value: string;
}

/** The fake machine's agent was "killed": nothing more reaches the machine until `revive`. */
export class FakeCrash extends Error {
  override readonly name = "FakeCrash";
  /** No step result is made of it: a dead process reports nothing. */
  readonly isFatal = true;
}

export class EffectLog {
  readonly #entries: Effect[] = [];
  readonly #failures: { kind: string; target: string | undefined; error: Error; times: number }[] = [];
  #crashAfter = Number.POSITIVE_INFINITY;
  #isCrashed = false;

  get all(): readonly Effect[] {
    return this.#entries;
  }

  /** "kind target" of each, for short expectations. */
  get summary(): readonly string[] {
    return this.#entries.map((effect) => `${effect.kind} ${effect.target}`);
  }

  of(kind: string): readonly Effect[] {
    return this.#entries.filter((effect) => effect.kind === kind);
  }

  clear(): void {
    this.#entries.length = 0;
  }

  /** The next `count` effects happen; the one after that throws FakeCrash, as does everything later, until `revive`. */
  crashAfter(count: number): void {
    this.#crashAfter = this.#entries.length + count;
  }

  /** Nothing reaches the machine any more, until `revive`. */
  crash(): never {
    this.#isCrashed = true;
    throw new FakeCrash("the fake machine's agent was killed");
  }

  revive(): void {
    this.#isCrashed = false;
    this.#crashAfter = Number.POSITIVE_INFINITY;
  }

  get isCrashed(): boolean {
    return this.#isCrashed;
  }

  /** Makes the next `times` effects of that kind (on that target) throw instead of happening. */
  fail(kind: string, error: Error, options: { readonly target?: string; readonly times?: number } = {}): void {
    this.#failures.push({ kind, target: options.target, error, times: options.times ?? 1 });
  }

  /** Called by the fakes before the effect takes place. */
  record(kind: string, target: string, value = ""): void {
    this.assertAlive();
    if (this.#entries.length >= this.#crashAfter) {
      this.#isCrashed = true;
      this.assertAlive();
    }
    const failure = this.#failures.find((entry) => entry.times > 0 && entry.kind === kind && (entry.target ?? target) === target);
    if (failure !== undefined) {
      failure.times -= 1;
      throw failure.error;
    }
    this.#entries.push({ kind, target, value });
  }

  /** Called by the fakes before each read: a dead process reads nothing either. */
  assertAlive(): void {
    if (this.#isCrashed) throw new FakeCrash("the fake machine's agent is dead");
  }
}
