/** Streams that are open, by who opened them: cut at once when that one is revoked, and all when the coordinator stops. */
import type { Refused } from "../refusal.ts";

export class LiveCalls {
  readonly #calls = new Map<string, Set<AbortController>>();

  get count(): number {
    let count = 0;
    for (const calls of this.#calls.values()) count += calls.size;
    return count;
  }

  /** @param subject "node:ID" or "operator:NAME" @returns what aborts when the call is to end, and what is called when it has ended */
  open(subject: string): { readonly controller: AbortController; readonly close: () => void } {
    const controller = new AbortController();
    const calls = this.#calls.get(subject) ?? new Set();
    this.#calls.set(subject, calls.add(controller));
    return {
      controller,
      close: () => {
        calls.delete(controller);
        if (calls.size === 0 && this.#calls.get(subject) === calls) this.#calls.delete(subject);
      },
    };
  }

  cut(subject: string, reason: Refused): void {
    for (const controller of this.#calls.get(subject) ?? []) controller.abort(reason);
  }

  cutAll(reason: Refused): void {
    for (const subject of this.#calls.keys()) this.cut(subject, reason);
  }
}
