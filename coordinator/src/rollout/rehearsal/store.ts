/** A store as the real one is seen by a controller: values with revisions, and commits that fail as a whole when one value has changed since. For tests. */

export interface Stored {
  readonly value: unknown;
  readonly revision: number;
}

export interface Write {
  readonly key: string;
  /** undefined: deleted. */
  readonly value: unknown;
  /** Revision that it was read at; 0: it was not there. */
  readonly expected: number;
}

export type Contents = ReadonlyMap<string, Stored>;

export class RehearsalStore {
  #contents = new Map<string, Stored>();
  #revision = 0;

  get(key: string): Stored | undefined {
    return this.#contents.get(key);
  }

  /** As it is now, and stays for whoever reads it. */
  snapshot(): Contents {
    return new Map(this.#contents);
  }

  /** @returns false when a value has changed since it was read: then nothing is written */
  commit(writes: readonly Write[]): boolean {
    if (writes.some(({ key, expected }) => (this.#contents.get(key)?.revision ?? 0) !== expected)) return false;
    for (const { key, value } of writes) this.put(key, value);
    return true;
  }

  put(key: string, value: unknown): void {
    this.#revision += 1;
    if (value === undefined) this.#contents.delete(key);
    else this.#contents.set(key, { value, revision: this.#revision });
  }

  /** An old backup takes the place of everything. */
  restore(backup: Contents): void {
    this.#contents = new Map(backup);
  }
}
