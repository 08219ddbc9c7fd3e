/** Keeps the node credential alive: renewed at two thirds of its life, recovered once it has expired. Tells who uses it. */
import { type Component, exponentialBackoff, jittered, type Log, type Random, sleep } from "@drover/lifecycle";
import type { NodeIdentity } from "./identity.ts";
import { recoverOnce } from "./recover.ts";
import { renewOnce, type RenewalEnding, type RenewalParts } from "./renew.ts";

/** Where bus and sessions get the credential from; it may be another one at each look. */
export interface CredentialSource {
  readonly current: NodeIdentity;
  onRotated(listen: (identity: NodeIdentity) => void): void;
}

/** The wall clock may jump; nothing may be overslept by more than this. */
const LONGEST_SLEEP_MS = 60 * 60 * 1000;
const RENEW_AT_SHARE_OF_LIFE = 2 / 3;

export interface RotationParts extends RenewalParts {
  readonly random: Random;
  readonly log: Log;
  readonly tell: (sentence: string) => void;
}

export class CredentialRotation implements Component, CredentialSource {
  readonly name = "credential-rotation";
  readonly #parts: RotationParts;
  readonly #listeners: ((identity: NodeIdentity) => void)[] = [];
  #current: NodeIdentity;

  constructor(parts: RotationParts, identity: NodeIdentity) {
    this.#parts = parts;
    this.#current = identity;
  }

  get current(): NodeIdentity {
    return this.#current;
  }

  onRotated(listen: (identity: NodeIdentity) => void): void {
    this.#listeners.push(listen);
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        await this.#untilDue(signal);
        await this.#replace(signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #untilDue(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#parts;
    const dueMs = renewAtMs(this.#current, random);
    for (let waitMs = dueMs - clock.now(); waitMs > 0; waitMs = dueMs - clock.now()) {
      await sleep(clock, Math.min(waitMs, LONGEST_SLEEP_MS), signal);
    }
  }

  async #replace(signal: AbortSignal): Promise<void> {
    const { clock, random, log, tell } = this.#parts;
    const backoff = exponentialBackoff(random, retryPace(this.#current));
    for (;;) {
      const isExpired = clock.now() >= this.#current.notAfterMs;
      const ending: RenewalEnding = await (isExpired ? recoverOnce : renewOnce)(this.#parts, this.#current, signal);
      if (ending.kind === "renewed") {
        this.#current = ending.identity;
        log.info({ notAfterMs: ending.identity.notAfterMs, isRecovery: isExpired }, "node credential replaced");
        for (const listen of this.#listeners) listen(ending.identity);
        return;
      }
      const delayMs = backoff.nextDelayMs();
      const { kind, reason, message } = ending;
      log.warn({ kind, reason, message, isExpired, delayMs: Math.round(delayMs) }, "node credential not replaced");
      if (isExpired) tell(`node certificate expired and not recovered: ${reason}: ${message}`);
      await sleep(clock, delayMs, signal);
    }
  }
}

/** Unix milliseconds: two thirds of the life, +- 10 % of that. */
export function renewAtMs(identity: Pick<NodeIdentity, "notBeforeMs" | "notAfterMs">, random: Random): number {
  const lifeMs = identity.notAfterMs - identity.notBeforeMs;
  return identity.notBeforeMs + jittered(random, lifeMs * RENEW_AT_SHARE_OF_LIFE, 0.1);
}

/** A week's certificate: from 30 s up to an hour; shorter ones proportionally faster. */
function retryPace(identity: NodeIdentity): { baseMs: number; maxMs: number } {
  const lifeMs = identity.notAfterMs - identity.notBeforeMs;
  return { baseMs: Math.min(30_000, Math.max(500, lifeMs / 1000)), maxMs: Math.min(3_600_000, Math.max(5000, lifeMs / 50)) };
}
