/**
 * Who holds how many connections. Each kind has a share of its own, so that neither a storm of nodes nor one of strangers can keep operators out. An identity
 * has a rate and a number of its own, because a fleet behind one NAT is one address. Pure but for what it counts.
 */
import type { Clock } from "@drover/lifecycle";
import { rateLimit, type RateLimit } from "../identity/rate-limit.ts";
import type { Subject } from "../identity/peers.ts";

export interface ShareLimits {
  readonly nodes: number;
  readonly operators: number;
}

/** Told when to come again, before it is closed. */
const MAX_TURNED_AWAY = 500;
const MAX_OF_ONE_NODE = 8;

export type Admission = "admitted" | "turnedAway" | "closed";

export class ConnectionShares {
  readonly #limits: ShareLimits;
  readonly #rates: Readonly<Record<Subject["kind"], RateLimit>>;
  readonly #held = { node: 0, operator: 0, turnedAway: 0 };
  readonly #bySubject = new Map<string, number>();

  constructor(limits: ShareLimits, clock: Clock) {
    this.#limits = limits;
    this.#rates = {
      // An agent opens one session after the other; a handshake of each second is more than any needs.
      node: rateLimit(clock, { burst: 20, perSecond: 1, maxKeys: 100_000 }),
      operator: rateLimit(clock, { burst: 100, perSecond: 10 }),
    };
  }

  get held(): Readonly<Record<Subject["kind"] | "turnedAway", number>> {
    return this.#held;
  }

  /** @returns what becomes of the connection, and what is called when it has ended */
  take({ kind, name }: Subject): { readonly admission: Admission; readonly release: () => void } {
    const key = `${kind}:${name}`;
    const ofOne = this.#bySubject.get(key) ?? 0;
    const [share, most] = kind === "node" ? [this.#limits.nodes, MAX_OF_ONE_NODE] : [this.#limits.operators, this.#limits.operators / 2];
    if (this.#rates[kind].take(name) && ofOne < most && this.#held[kind] < share) return this.#hold("admitted", kind, key);
    // One that floods is told once at a time.
    if (ofOne > most || this.#held.turnedAway >= MAX_TURNED_AWAY) return { admission: "closed", release: () => undefined };
    return this.#hold("turnedAway", "turnedAway", key);
  }

  #hold(admission: Admission, share: keyof ConnectionShares["held"], key: string): ReturnType<ConnectionShares["take"]> {
    this.#held[share] += 1;
    this.#bySubject.set(key, (this.#bySubject.get(key) ?? 0) + 1);
    const release = (): void => {
      this.#held[share] -= 1;
      const left = this.#bySubject.get(key)! - 1;
      if (left === 0) this.#bySubject.delete(key);
      else this.#bySubject.set(key, left);
    };
    return { admission, release };
  }
}
