/**
 * The claim of a join token: one compare-and-swap that makes the node, its object and the token's claim, with the audit record.
 * Of any number of claims at the same time one wins; the winner may ask again, as its answer may have been lost.
 */
import type { KeyObject } from "node:crypto";
import { API_VERSION, type Node } from "@drover/api";
import type { Clock, Random } from "@drover/lifecycle";
import type { EnrollRequest } from "@drover/proto";
import { auditOperation } from "../audit/audit.ts";
import type { JoinTokenRecord, NodeRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { type Authority, NODE_LIFE_MS } from "./authority.ts";
import { type Leaf, spkiFingerprint } from "./certificate-authority.ts";
import { type JoinTokenLookup, lookUpJoinToken } from "./join-tokens.ts";
import { claimNatsKey } from "./nats-key.ts";
import { asObjectName, nameCandidate, newNodeId } from "./node-names.ts";
import { type Refusal, refuse } from "./refusal.ts";

/** Each conflict is somebody else's progress; more of them than this is no honest load. */
const MAX_ATTEMPTS = 50;
/** A lost answer may be asked for again as long as the certificate in it would have lived. */
const REPEATABLE_MS = NODE_LIFE_MS;

export interface ClaimDependencies {
  readonly store: Store;
  readonly authority: Authority;
  readonly clock: Clock;
  readonly random: Random;
}

export type Claim = { readonly ok: true; readonly record: NodeRecord; readonly leaf: Leaf } | Refusal;
type KnownToken = Extract<JoinTokenLookup, { ok: true }>;

/** @param publicKey the CSR's, possession proved */
export async function claimJoinToken(
  dependencies: ClaimDependencies,
  request: EnrollRequest,
  publicKey: KeyObject,
  from: string,
): Promise<Claim> {
  const keyFingerprint = spkiFingerprint(publicKey);
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const token = await lookUpJoinToken(dependencies.store, request.joinToken);
    if (!token.ok) return token;
    const outcome =
      token.record.claim === undefined
        ? await claimUnused(dependencies, token, request, publicKey, from)
        : await claimAgain(dependencies, token.record.claim, request, keyFingerprint, publicKey);
    if (outcome !== "conflict") return outcome;
  }
  return refuse("Conflict", "too many machines enrol under this name at once; try again");
}

async function claimUnused(
  { store, authority, clock, random }: ClaimDependencies,
  token: KnownToken,
  request: EnrollRequest,
  publicKey: KeyObject,
  from: string,
): Promise<Claim | "conflict"> {
  const nowMs = clock.now();
  if (token.record.expiresAtMs <= nowMs) return refuse("TokenExpired", "the join token has expired; make one with: drover token create");
  const nodeId = newNodeId(random);
  const natsKey = await claimNatsKey(store, request.natsPublicKey, nodeId);
  if (!natsKey.ok) return natsKey;
  const name = await freeName(store, request, nodeId);
  const leaf = await authority.issueNode(nodeId, publicKey);
  const record: NodeRecord = {
    nodeId,
    name,
    enrolledAtMs: nowMs,
    keyFingerprint: leaf.keyFingerprint,
    certificateSerial: leaf.serial,
    certificateNotAfterMs: leaf.notAfterMs,
    natsPublicKey: request.natsPublicKey,
    renewalCounter: 0,
    recoveredSerials: [],
    bakeManifestDigest: request.bakeManifestDigest,
    newestCaPin: authority.newestPin,
  };
  const claim: JoinTokenRecord["claim"] = {
    nodeId,
    atMs: nowMs,
    keyFingerprint: leaf.keyFingerprint,
    nonce: Buffer.from(request.nonce).toString("hex"),
  };
  const message = `with join token ${token.record.id} from ${from} as ${nodeId}`;
  const committed = await store.commit([
    putJson(keys.joinToken(token.record.id), { ...token.record, claim }, token.revision),
    putJson(keys.object("JoinToken", token.record.id), { ...token.object, status: { phase: "Used", node: name } }, token.objectRevision),
    putJson(keys.node(nodeId), record, 0),
    putJson(keys.object("Node", name), nodeObject(record, token.record.labels), 0),
    ...natsKey.operations,
    auditOperation({ atMs: nowMs, actor: `node:${nodeId}`, action: "Enroll", target: `Node/${name}`, outcome: "ok", message }, random),
  ]);
  return committed.ok ? { ok: true, record, leaf } : "conflict";
}

/** The same machine, whose answer was lost: the same node, with a certificate made anew for the same key. */
async function claimAgain(
  { store, authority, clock }: ClaimDependencies,
  claim: NonNullable<JoinTokenRecord["claim"]>,
  request: EnrollRequest,
  keyFingerprint: string,
  publicKey: KeyObject,
): Promise<Claim | "conflict"> {
  const used = refuse("TokenUsed", "the join token was used already; make one per machine with: drover token create");
  if (clock.now() - claim.atMs > REPEATABLE_MS) return used;
  if (claim.nonce !== Buffer.from(request.nonce).toString("hex") || claim.keyFingerprint !== keyFingerprint) return used;
  const entry = await store.get(keys.node(claim.nodeId));
  if (entry === undefined) return used;
  const record = readJson(entry) as NodeRecord;
  // Once the node has moved on to another key, this one has no say any more.
  if (record.keyFingerprint !== keyFingerprint || record.natsPublicKey !== request.natsPublicKey) return used;
  if (record.revokedAtMs !== undefined) return refuse("Revoked", "this node is revoked; enrol it with a new join token and a new key");
  const leaf = await authority.issueNode(record.nodeId, publicKey);
  const renewed: NodeRecord = {
    ...record,
    certificateSerial: leaf.serial,
    certificateNotAfterMs: leaf.notAfterMs,
    newestCaPin: authority.newestPin,
  };
  const committed = await store.commit([putJson(keys.node(record.nodeId), renewed, entry.revision)]);
  return committed.ok ? { ok: true, record: renewed, leaf } : "conflict";
}

async function freeName(store: Store, request: EnrollRequest, nodeId: string): Promise<string> {
  const wanted = asObjectName(request.name) || asObjectName(request.facts?.hostname ?? "") || `node-${nodeId}`;
  for (let attempt = 1; attempt <= 1000; attempt += 1) {
    const name = nameCandidate(wanted, attempt);
    // A name must not be another node's id either: people may say both.
    const taken = await Promise.all([store.get(keys.object("Node", name)), store.get(keys.node(name))]);
    if (taken.every((entry) => entry === undefined)) return name;
  }
  return `node-${nodeId}`;
}

function nodeObject(record: NodeRecord, labels: Readonly<Record<string, string>>): Node {
  return {
    apiVersion: API_VERSION,
    kind: "Node",
    metadata: {
      name: record.name,
      uid: record.nodeId,
      labels: { ...labels },
      generation: 1,
      creationTimestamp: new Date(record.enrolledAtMs).toISOString(),
    },
    spec: {},
  };
}
