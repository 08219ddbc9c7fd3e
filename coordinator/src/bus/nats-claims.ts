/** Tells a running server the account's new claims: at once, for this account alone, no connection of others touched. */
import { type Clock, exponentialBackoff, type Random, sleep, withDeadline } from "@drover/lifecycle";
import { connect, jwtAuthenticator } from "@nats-io/transport-node";
import type { NatsUser } from "./nats-trust.ts";

export interface ClaimsTarget {
  readonly url: string;
  readonly caPem: string;
  readonly systemUser: () => NatsUser;
  readonly accountId: string;
  readonly clock: Clock;
  readonly random: Random;
}

const ATTEMPT_MS = 3_000;

/** Tries again until deadlineMs have passed. @throws the last attempt's error */
export async function pushAccountClaims(target: ClaimsTarget, accountJwt: () => string, deadlineMs: number): Promise<void> {
  const { clock } = target;
  const endMs = clock.monotonicMs() + deadlineMs;
  const backoff = exponentialBackoff(target.random, { baseMs: 50, maxMs: 500 });
  for (;;) {
    try {
      return await withDeadline(clock, "the update of NATS account claims", ATTEMPT_MS, undefined, () => pushOnce(target, accountJwt()));
    } catch (error) {
      const waitMs = backoff.nextDelayMs();
      if (clock.monotonicMs() + waitMs >= endMs) throw error;
      await sleep(clock, waitMs);
    }
  }
}

async function pushOnce(target: ClaimsTarget, accountJwt: string): Promise<void> {
  const user = target.systemUser();
  const connection = await connect({
    servers: target.url,
    name: "drover-coordinator-claims",
    tls: { ca: target.caPem },
    authenticator: jwtAuthenticator(user.jwt, Buffer.from(user.seed)),
    reconnect: false,
    timeout: ATTEMPT_MS,
  });
  try {
    const answer = await connection.request(`$SYS.REQ.ACCOUNT.${target.accountId}.CLAIMS.UPDATE`, accountJwt, { timeout: ATTEMPT_MS });
    const { data, error } = answer.json<{ data?: { code?: number }; error?: { description?: string } }>();
    if (error !== undefined || data?.code !== 200) {
      throw new Error(`NATS refused the account's claims: ${error?.description ?? "no reason given"}`);
    }
  } finally {
    await connection.close();
  }
}
