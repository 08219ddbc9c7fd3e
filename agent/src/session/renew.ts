/** One renewal of a credential that is still valid, over mTLS. When to renew is credential-rotation's. */
import { randomBytes } from "node:crypto";
import type { Clock } from "@drover/lifecycle";
import { RenewRequest, type RenewResponse } from "@drover/proto";
import { callEnrollment, mutualTls } from "./channel.ts";
import { identityOf, type IdentityStore, type NodeIdentity, UnusableIdentity, withFreshPrivateKey } from "./identity.ts";
import { makeSigningRequest } from "./signing-request.ts";

export type RenewalEnding =
  | { readonly kind: "renewed"; readonly identity: NodeIdentity }
  | { readonly kind: "refused" | "unreachable"; readonly reason: string; readonly message: string };

export interface RenewalParts {
  readonly clock: Clock;
  readonly store: IdentityStore;
  /** "host:port" of Enroll and Recover. */
  readonly endpoint: string;
}

export async function renewOnce(parts: RenewalParts, identity: NodeIdentity, signal: AbortSignal): Promise<RenewalEnding> {
  const { keys } = await parts.store.pending(() => ({ keys: withFreshPrivateKey(identity.keys), nonce: randomBytes(16) }));
  const request = RenewRequest.fromPartial({
    csr: await makeSigningRequest(keys.privateKeyPem),
    natsPublicKey: keys.natsPublicKey,
    renewalCounter: identity.credential.renewalCounter,
  });
  const channel = { clock: parts.clock, endpoint: identity.credential.sessionEndpoint, credentials: mutualTls(identity) };
  const ending = await callEnrollment<RenewResponse>(channel, (client, metadata, done) => client.renew(request, metadata, done), signal);
  if (ending.kind !== "answered") return ending;
  return keepRenewed(parts.store, { ...identity, keys }, ending.answer);
}

/** Makes the answer the identity; a useless answer leaves everything as it was. */
export async function keepRenewed(
  store: IdentityStore,
  offered: Pick<NodeIdentity, "nodeId" | "keys">,
  answer: Pick<RenewResponse, "credential">,
): Promise<RenewalEnding> {
  let renewed: NodeIdentity;
  try {
    renewed = identityOf(offered.nodeId, offered.keys, answer.credential);
  } catch (error) {
    if (error instanceof UnusableIdentity) return { kind: "refused", reason: "AnswerUnusable", message: error.message };
    throw error;
  }
  await store.save(renewed);
  return { kind: "renewed", identity: renewed };
}
