/**
 * How a machine gets, keeps and regains its identity. What is certified follows the coordinator's record; of a CSR only the key is taken.
 * Every answer is data; rpc/ turns it into gRPC.
 */
import { verify as verifySignature, type KeyObject, type X509Certificate } from "node:crypto";
import type { Clock, Log, Random } from "@drover/lifecycle";
import type { EnrollRequest, NodeCredential, RecoverRequest, RenewRequest } from "@drover/proto";
import { auditOperation } from "../audit/audit.ts";
import type { NodeRecord, Peer } from "../records.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import type { Authority } from "./authority.ts";
import { DAY_MS, type Leaf, serialOf, spkiFingerprint } from "./certificate-authority.ts";
import { keyOfCsr, parseCertificate } from "./certificate-request.ts";
import { claimJoinToken } from "./claim.ts";
import { lookUpJoinToken } from "./join-tokens.ts";
import { claimNatsKey } from "./nats-key.ts";
import type { NatsCredentialIssuer } from "./nats-credential-issuer.ts";
import { subjectOf } from "./peers.ts";
import { rateLimit } from "./rate-limit.ts";
import { type Refusal, refuse } from "./refusal.ts";

const RECOVERABLE_MS = 90 * DAY_MS;
const PROOF_WINDOW_MS = 10 * 60_000;
const NONCE_BYTES = 16;
const MAX_RECOVERED_SERIALS = 32;
const BAKE_DIGEST = /^(sha256:[0-9a-f]{64})?$/;
const SESSION_ENDPOINT_HINT = "enrol it again with a new join token (drover token create)";

export interface EnrolmentDependencies {
  readonly store: Store;
  readonly authority: Authority;
  readonly nats: NatsCredentialIssuer;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Where sessions and renewals are served over mTLS, "host:port". */
  readonly sessionEndpoint: string;
}

export type CredentialAnswer = { readonly ok: true; readonly nodeId: string; readonly credential: NodeCredential } | Refusal;

export interface Enrolment {
  /** @param peerAddress for the audit log; a fleet behind one NAT is one address */
  enroll(request: EnrollRequest, peerAddress: string): Promise<CredentialAnswer>;
  renew(peer: Peer, request: RenewRequest): Promise<CredentialAnswer>;
  recover(request: RecoverRequest, peerAddress: string): Promise<CredentialAnswer>;
}

export function createEnrolment(dependencies: EnrolmentDependencies): Enrolment {
  const { store, authority, nats, clock, random, log, sessionEndpoint } = dependencies;
  /** Refusals cost a commit each: strangers must not be able to fill the store, nor push out what matters. */
  const refusalRecords = rateLimit(clock, { burst: 100, perSecond: 5 });
  const recoveriesFrom = rateLimit(clock, { burst: 500, perSecond: 50 });
  const renewalsOf = rateLimit(clock, { burst: 10, perSecond: 1 / 60 });
  const recoveriesOf = rateLimit(clock, { burst: 3, perSecond: 1 / 60 });

  async function refused(action: string, actor: string, target: string, refusal: Refusal): Promise<Refusal> {
    log.warn({ action, actor, target, reason: refusal.reason }, "identity request refused");
    if (refusalRecords.take(action)) {
      const message = `${refusal.reason}: ${refusal.message}`;
      await store.commit([auditOperation({ atMs: clock.now(), actor, action, target, outcome: "refused", message }, random)]);
    }
    return refusal;
  }

  function credentialOf(record: NodeRecord, leaf: Leaf): CredentialAnswer {
    const user = { nodeId: record.nodeId, publicKey: record.natsPublicKey, notAfterMs: leaf.notAfterMs };
    return {
      ok: true,
      nodeId: record.nodeId,
      credential: {
        certificateChain: [...leaf.chain],
        caBundle: [...authority.bundle],
        natsUrls: [...nats.urls],
        natsUserJwt: nats.issueUserJwt(user),
        natsCaPem: nats.caPem,
        renewalCounter: record.renewalCounter,
        sessionEndpoint,
      },
    };
  }

  /** Commits the record with a new certificate; undefined: the record was changed meanwhile. */
  async function reissue(
    entry: { readonly record: NodeRecord; readonly revision: number },
    change: {
      readonly publicKey: KeyObject;
      readonly natsPublicKey: string;
      readonly next: Partial<NodeRecord>;
      readonly recoveredFrom?: string;
    },
  ): Promise<CredentialAnswer> {
    const { record, revision } = entry;
    const natsKey = await claimNatsKey(store, change.natsPublicKey, record.nodeId);
    if (!natsKey.ok) return natsKey;
    const leaf = await authority.issueNode(record.nodeId, change.publicKey);
    const renewed: NodeRecord = {
      ...record,
      ...change.next,
      keyFingerprint: leaf.keyFingerprint,
      certificateSerial: leaf.serial,
      certificateNotAfterMs: leaf.notAfterMs,
      natsPublicKey: change.natsPublicKey,
      retiredNatsKeys: retiredNatsKeys(record, change.natsPublicKey, clock.now()),
      newestCaPin: authority.newestPin,
    };
    const audit = { atMs: clock.now(), actor: `node:${record.nodeId}`, target: `Node/${record.name}`, outcome: "ok" } as const;
    const committed = await store.commit([
      putJson(keys.node(record.nodeId), renewed, revision),
      ...natsKey.operations,
      // A renewal is routine, a recovery is not.
      ...(change.recoveredFrom === undefined
        ? []
        : [auditOperation({ ...audit, action: "Recover", message: `with expired certificate ${change.recoveredFrom}` }, random)]),
    ]);
    return committed.ok ? credentialOf(renewed, leaf) : refuse("Conflict", "the node's record changed meanwhile; try again");
  }

  async function recordOf(nodeId: string): Promise<{ readonly record: NodeRecord; readonly revision: number } | undefined> {
    const entry = await store.get(keys.node(nodeId));
    return entry === undefined ? undefined : { record: readJson(entry) as NodeRecord, revision: entry.revision };
  }

  async function enroll(request: EnrollRequest, peerAddress: string): Promise<CredentialAnswer> {
    if (request.nonce.length !== NONCE_BYTES) return refuse("InvalidRequest", `nonce must be ${NONCE_BYTES} random bytes`);
    if (!BAKE_DIGEST.test(request.bakeManifestDigest)) {
      return refuse("InvalidRequest", "bake_manifest_digest must be empty or sha256: and 64 hex digits");
    }
    // The token first: parsing and verifying is done for nobody who has none.
    const token = await lookUpJoinToken(store, request.joinToken);
    if (!token.ok) return token;
    const key = await keyOfCsr(request.csr);
    if (!key.ok) return key;
    const claim = await claimJoinToken(dependencies, request, key.publicKey, peerAddress);
    if (!claim.ok) return claim;
    log.info({ node: claim.record.nodeId, name: claim.record.name, token: token.record.id }, "node enrolled");
    return credentialOf(claim.record, claim.leaf);
  }

  async function renew(nodeId: string, request: RenewRequest): Promise<CredentialAnswer> {
    const entry = await recordOf(nodeId);
    if (entry === undefined) return refuse("UnknownNode", `this node is not known; ${SESSION_ENDPOINT_HINT}`);
    const { record } = entry;
    if (record.revokedAtMs !== undefined) return refuse("Revoked", `this node is revoked; ${SESSION_ENDPOINT_HINT}`);
    const key = await keyOfCsr(request.csr);
    if (!key.ok) return key;
    const { publicKey } = key;
    const { natsPublicKey } = request;
    if (request.renewalCounter === record.renewalCounter) {
      return reissue(entry, { publicKey, natsPublicKey, next: { renewalCounter: record.renewalCounter + 1 } });
    }
    // The answer to the last renewal was lost: whoever holds the key certified then is the one it was for.
    const isRepeated = request.renewalCounter === record.renewalCounter - 1 && spkiFingerprint(publicKey) === record.keyFingerprint;
    if (isRepeated) return reissue(entry, { publicKey, natsPublicKey, next: {} });
    return refuse(
      "CloneSuspected",
      `renewal counter ${request.renewalCounter} is not the recorded ${record.renewalCounter}: this identity is in use elsewhere`,
    );
  }

  async function recover(nodeId: string, certificate: X509Certificate, request: RecoverRequest): Promise<CredentialAnswer> {
    const nowMs = clock.now();
    if (Math.abs(nowMs - request.atMs) > PROOF_WINDOW_MS) return refuse("ClockNotCredible", "at_ms is more than 10 minutes from our clock");
    if (!isProofValid(certificate, request)) return refuse("InvalidProof", "the proof is not signed by the certificate's key");
    // Only after the proof, so that nobody can use up another node's tries.
    if (!recoveriesOf.take(nodeId)) return refuse("RateLimited", "too many recoveries of this node; wait a minute");
    const entry = await recordOf(nodeId);
    if (entry === undefined) return refuse("UnknownNode", `this node is not known; ${SESSION_ENDPOINT_HINT}`);
    const { record } = entry;
    if (record.revokedAtMs !== undefined) return refuse("Revoked", `this node is revoked; ${SESSION_ENDPOINT_HINT}`);
    const expiredMs = nowMs - Date.parse(certificate.validTo);
    if (expiredMs < 0) return refuse("CertificateNotExpired", "the certificate has not expired; renew it over mTLS");
    if (expiredMs >= RECOVERABLE_MS)
      return refuse("CertificateTooOld", `the certificate expired over 90 days ago; ${SESSION_ENDPOINT_HINT}`);
    const key = await keyOfCsr(request.csr);
    if (!key.ok) return key;
    const { publicKey } = key;
    const serial = serialOf(certificate);
    // Certified already by an answer that was lost: the same key may have it again, and nobody else.
    const isLastCertifiedKey = spkiFingerprint(publicKey) === record.keyFingerprint && serial !== record.certificateSerial;
    if (record.recoveredSerials.includes(serial) && !isLastCertifiedKey) {
      return refuse("AlreadyRecovered", `this certificate was recovered once already; ${SESSION_ENDPOINT_HINT}`);
    }
    if (serial !== record.certificateSerial && !isLastCertifiedKey) {
      return refuse("CertificateSuperseded", `a newer certificate was issued to this node; ${SESSION_ENDPOINT_HINT}`);
    }
    const recoveredSerials = [...new Set([...record.recoveredSerials, serial])].slice(-MAX_RECOVERED_SERIALS);
    const next = { recoveredSerials, renewalCounter: record.renewalCounter + 1 };
    return reissue(entry, { publicKey, natsPublicKey: request.natsPublicKey, next, recoveredFrom: serial });
  }

  return {
    async enroll(request, peerAddress) {
      const answer = await enroll(request, peerAddress);
      return answer.ok ? answer : refused("Enroll", `address:${peerAddress}`, `JoinToken/${tokenIdOf(request.joinToken)}`, answer);
    },
    async renew(peer, request) {
      if (peer.kind !== "node") return refuse("NotANode", "only a node renews a node's certificate");
      if (!renewalsOf.take(peer.nodeId)) return refuse("RateLimited", "too many renewals of this node; wait a minute");
      const answer = await renew(peer.nodeId, request);
      const action = !answer.ok && answer.reason === "CloneSuspected" ? "CloneAlarm" : "Renew";
      return answer.ok ? answer : refused(action, `node:${peer.nodeId}`, `Node/${peer.nodeId}`, answer);
    },
    async recover(request, peerAddress) {
      if (!recoveriesFrom.take(peerAddress)) return refuse("RateLimited", "too many recoveries from this address; wait a minute");
      const certificate = parseCertificate(request.certificate);
      const subject = certificate === undefined || !authority.hasIssued(certificate) ? undefined : subjectOf(certificate);
      const answer =
        certificate === undefined || subject?.kind !== "node"
          ? refuse("InvalidCertificate", "certificate is no node certificate of this coordinator")
          : await recover(subject.name, certificate, request);
      return answer.ok ? answer : refused("Recover", `address:${peerAddress}`, `Node/${subject?.name ?? "unknown"}`, answer);
    },
  };
}

/** What a recovering node signs. */
export function recoverProofBytes(request: Pick<RecoverRequest, "atMs" | "csr">): Buffer {
  return Buffer.concat([Buffer.from(`drover-recover-v1\0${request.atMs}\0`), request.csr]);
}

function isProofValid(certificate: X509Certificate, request: RecoverRequest): boolean {
  try {
    return verifySignature("sha256", recoverProofBytes(request), certificate.publicKey, request.proof);
  } catch {
    return false;
  }
}

function retiredNatsKeys(record: NodeRecord, next: string, nowMs: number): NonNullable<NodeRecord["retiredNatsKeys"]> {
  const known = [...(record.retiredNatsKeys ?? []), { publicKey: record.natsPublicKey, notAfterMs: record.certificateNotAfterMs }];
  return known.filter(({ publicKey, notAfterMs }) => publicKey !== next && notAfterMs > nowMs);
}

/** The public half of a join token, for the audit log. */
function tokenIdOf(token: string): string {
  return /^([a-z2-7]{10})\./.exec(token)?.[1] ?? "unknown";
}
