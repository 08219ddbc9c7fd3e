/** First contact: finds the coordinator by its CA's pin, spends the join token, keeps the identity. Tries until it has one. */
import { randomBytes } from "node:crypto";
import { type Clock, exponentialBackoff, type Log, type Random, Secret, sleep } from "@drover/lifecycle";
import { EnrollRequest, type EnrollResponse, type Facts } from "@drover/proto";
import { callEnrollment, serverTls } from "./channel.ts";
import { identityOf, type IdentityStore, makeNodeKeys, type NodeIdentity, type PendingIdentity, UnusableIdentity } from "./identity.ts";
import { readJoinToken, removeJoinToken } from "./join-token-file.ts";
import { findPinnedCa } from "./pin.ts";
import { makeSigningRequest } from "./signing-request.ts";

export interface EnrolmentParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: IdentityStore;
  /** "host:port" of Enroll and Recover. */
  readonly endpoint: string;
  readonly caPin: string;
  readonly joinTokenFile: string;
  /** Empty: the hostname. */
  readonly machineName: string;
  readonly facts: () => Promise<Facts>;
  /** One sentence for whoever looks at the service's status. */
  readonly tell: (sentence: string) => void;
}

export type EnrolmentEnding =
  | { readonly kind: "enrolled"; readonly identity: NodeIdentity }
  | { readonly kind: "refused" | "unreachable"; readonly reason: string; readonly message: string };

/** Resolves with a durable identity; the join token is gone by then. @throws only the signal's reason, or for disk errors */
export async function enrol(parts: EnrolmentParts, signal: AbortSignal): Promise<NodeIdentity> {
  const backoff = exponentialBackoff(parts.random, { baseMs: 1000, maxMs: 60_000 });
  for (;;) {
    const ending = await enrolOnce(parts, signal);
    if (ending.kind === "enrolled") {
      parts.log.info({ node: ending.identity.nodeId }, "enrolled");
      return ending.identity;
    }
    const delayMs = backoff.nextDelayMs();
    parts.log.warn({ reason: ending.reason, message: ending.message, delayMs: Math.round(delayMs) }, "not enrolled yet");
    parts.tell(`not enrolled: ${ending.reason}: ${ending.message}`);
    await sleep(parts.clock, delayMs, signal);
  }
}

/** One try. The token leaves this machine only after the pin was found. */
export async function enrolOnce(parts: EnrolmentParts, signal: AbortSignal): Promise<EnrolmentEnding> {
  const token = await readJoinToken(parts.joinTokenFile);
  if (token.kind === "absent") return { kind: "refused", reason: "JoinTokenMissing", message: token.message };
  const ca = await findPinnedCa(parts.clock, parts.endpoint, parts.caPin, signal);
  if (ca.kind === "unreachable") return { kind: "unreachable", reason: "CoordinatorUnreachable", message: ca.message };
  if (ca.kind === "mismatch") {
    const presented = ca.presented.join(", ") || "no CA at all";
    const message = `${parts.endpoint} presents ${presented}, not the CA pinned by caPin; compare with the output of \`drover token create\``;
    return { kind: "refused", reason: "CaPinMismatch", message };
  }
  const pending = await parts.store.pending(() => ({ keys: makeNodeKeys(), nonce: randomBytes(16) }));
  const ending = await spendToken(parts, pending, token.token, ca.caPem, signal);
  if (ending.kind !== "answered") return ending;
  let identity: NodeIdentity;
  try {
    identity = identityOf(ending.answer.nodeId, pending.keys, ending.answer.credential);
  } catch (error) {
    if (error instanceof UnusableIdentity) return { kind: "refused", reason: "AnswerUnusable", message: error.message };
    throw error;
  }
  await parts.store.save(identity);
  await removeJoinToken(parts.joinTokenFile, parts.log);
  return { kind: "enrolled", identity };
}

async function spendToken(parts: EnrolmentParts, pending: PendingIdentity, token: Secret, caPem: string, signal: AbortSignal) {
  const request = EnrollRequest.fromPartial({
    joinToken: token.reveal(),
    csr: await makeSigningRequest(pending.keys.privateKeyPem),
    natsPublicKey: pending.keys.natsPublicKey,
    facts: await parts.facts(),
    nonce: pending.nonce,
    name: parts.machineName,
  });
  const channel = { clock: parts.clock, endpoint: parts.endpoint, credentials: serverTls(caPem) };
  return callEnrollment<EnrollResponse>(channel, (client, metadata, done) => client.enroll(request, metadata, done), signal);
}
