/** The second path as a simulation scripts it: each machine's port answers a knock, or does not. */
import type { ConnectTcp } from "@drover/coordinator/real";
import { type Clock, sleep } from "@drover/lifecycle";

/** As long as a real one waits. */
const SILENCE_MS = 2_000;

export class ScriptedKnocks {
  readonly connect: ConnectTcp;
  readonly #silent: Set<string>;

  constructor(clock: Clock, silent: readonly string[]) {
    this.#silent = new Set(silent);
    this.connect = async (address, _port, signal) => {
      if (!this.#silent.has(address)) return "answered";
      await sleep(clock, SILENCE_MS, signal).catch(() => undefined);
      return signal.aborted ? "unproven" : "silent";
    };
  }

  set(addresses: readonly string[], isAnswered: boolean): void {
    for (const address of addresses) {
      if (isAnswered) this.#silent.delete(address);
      else this.#silent.add(address);
    }
  }
}
