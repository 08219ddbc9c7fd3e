/** A certificate that expired while the machine was away: a new one for proof of possession of the old key, once. */
import { createPrivateKey, randomBytes, sign } from "node:crypto";
import type { Secret } from "@drover/lifecycle";
import { RecoverRequest, type RecoverResponse } from "@drover/proto";
import { callEnrollment, serverTls } from "./channel.ts";
import { caBundlePem, type NodeIdentity, withFreshPrivateKey } from "./identity.ts";
import { keepRenewed, type RenewalEnding, type RenewalParts } from "./renew.ts";
import { makeSigningRequest } from "./signing-request.ts";

export async function recoverOnce(parts: RenewalParts, identity: NodeIdentity, signal: AbortSignal): Promise<RenewalEnding> {
  const { keys } = await parts.store.pending(() => ({ keys: withFreshPrivateKey(identity.keys), nonce: randomBytes(16) }));
  const csr = await makeSigningRequest(keys.privateKeyPem);
  const atMs = parts.clock.now();
  const request = RecoverRequest.fromPartial({
    certificate: identity.credential.certificateChain[0]!,
    csr,
    natsPublicKey: keys.natsPublicKey,
    atMs,
    proof: proofOfPossession(identity.keys.privateKeyPem, atMs, csr),
  });
  const channel = { clock: parts.clock, endpoint: parts.endpoint, credentials: serverTls(caBundlePem(identity.credential)) };
  const ending = await callEnrollment<RecoverResponse>(
    channel,
    (client, metadata, done) => client.recover(request, metadata, done),
    signal,
  );
  if (ending.kind !== "answered") return ending;
  return keepRenewed(parts.store, { ...identity, keys }, ending.answer);
}

/** DER signature over what RecoverRequest.proof says. */
export function proofOfPossession(privateKeyPem: Secret, atMs: number, csr: Uint8Array): Buffer {
  const signed = Buffer.concat([Buffer.from(`drover-recover-v1\0${atMs}\0`), csr]);
  return sign("sha256", signed, createPrivateKey(privateKeyPem.reveal()));
}
