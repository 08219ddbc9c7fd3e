/** A value that does not print: in logs, JSON and templates it shows as [redacted]. */
import { inspect } from "node:util";

const REDACTED = "[redacted]";

export class Secret<T = string> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** The value itself; the one place where it leaves. */
  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}
