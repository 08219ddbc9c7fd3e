/** Join tokens: "<id>.<secret>", single use, of the secret only a hash is kept. Making and recognising them; the claim is claim.ts. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { API_VERSION, type JoinToken, kinds } from "@drover/api";
import { type Clock, type Random, Secret } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { JoinTokenRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { base32Text } from "./node-names.ts";
import { type Refusal, refuse } from "./refusal.ts";

const DEFAULT_TTL_SECONDS = 3600;
const MAX_TTL_SECONDS = 30 * 24 * 3600;
const MAX_DESCRIPTION = 256;
const TOKEN = /^([a-z2-7]{10})\.([A-Za-z0-9_-]{43})$/;

export interface JoinTokenRequest {
  /** 0: an hour. */
  readonly ttlSeconds: number;
  /** Put on the node at enrolment. */
  readonly labels: Readonly<Record<string, string>>;
  readonly description: string;
  /** As in the audit log: "operator:NAME". */
  readonly createdBy: string;
}

export type JoinTokenCreation = { readonly ok: true; readonly token: Secret; readonly id: string; readonly expiresAtMs: number } | Refusal;

/** Makes a token, its JoinToken object and its audit record in one commit. The token is shown this once. */
export async function createJoinToken(
  { store, clock, random }: { readonly store: Store; readonly clock: Clock; readonly random: Random },
  request: JoinTokenRequest,
): Promise<JoinTokenCreation> {
  const ttlSeconds = request.ttlSeconds === 0 ? DEFAULT_TTL_SECONDS : request.ttlSeconds;
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS) {
    return refuse("InvalidRequest", `ttl_seconds must be 1 to ${MAX_TTL_SECONDS} (30 days)`);
  }
  if (request.description.length > MAX_DESCRIPTION) return refuse("InvalidRequest", `description is longer than ${MAX_DESCRIPTION}`);
  const id = base32Text(random, 10);
  const secret = randomBytes(32).toString("base64url");
  const nowMs = clock.now();
  const record: JoinTokenRecord = {
    id,
    secretHash: hashOf(secret).toString("hex"),
    createdAtMs: nowMs,
    expiresAtMs: nowMs + ttlSeconds * 1000,
    createdBy: request.createdBy,
    labels: request.labels,
    description: request.description,
  };
  const checked = kinds.JoinToken.schema.safeParse(joinTokenObject(record));
  if (!checked.success) {
    const problems = checked.error.issues.map(({ path, message }) => `${path.slice(1).join(".")} ${message}`);
    return refuse("InvalidRequest", problems.join("; "));
  }
  const audit = { atMs: nowMs, actor: request.createdBy, action: "CreateJoinToken", target: `JoinToken/${id}`, outcome: "ok" } as const;
  const committed = await store.commit([
    putJson(keys.joinToken(id), record, 0),
    putJson(keys.object("JoinToken", id), checked.data, 0),
    auditOperation({ ...audit, message: `valid for ${ttlSeconds} s` }, random),
  ]);
  if (!committed.ok) return refuse("Conflict", "another token was made under the same id; try again");
  return { ok: true, token: new Secret(`${id}.${secret}`), id, expiresAtMs: record.expiresAtMs };
}

export type JoinTokenLookup =
  | {
      readonly ok: true;
      readonly record: JoinTokenRecord;
      readonly revision: number;
      readonly object: JoinToken;
      readonly objectRevision: number;
    }
  | Refusal;

/** The token that this text is, claimed or not, expired or not; refused alike when there is none and when the secret is wrong. */
export async function lookUpJoinToken(store: Store, token: string): Promise<JoinTokenLookup> {
  const invalid = refuse("TokenInvalid", "the join token is not known; make one with: drover token create");
  const [, id, secret] = TOKEN.exec(token) ?? [];
  if (id === undefined || secret === undefined) return invalid;
  const [entry, object] = await Promise.all([store.get(keys.joinToken(id)), store.get(keys.object("JoinToken", id))]);
  // A hash is compared in any case, so that time does not tell known ids from unknown ones.
  const record = entry === undefined ? undefined : (readJson(entry) as JoinTokenRecord);
  const isSame = timingSafeEqual(hashOf(secret), record === undefined ? Buffer.alloc(32) : Buffer.from(record.secretHash, "hex"));
  // Without its object it was deleted by an operator.
  if (entry === undefined || record === undefined || object === undefined || !isSame) return invalid;
  return { ok: true, record, revision: entry.revision, object: readJson(object) as JoinToken, objectRevision: object.revision };
}

/** The JoinToken object that shows this record to people. */
export function joinTokenObject(record: JoinTokenRecord): JoinToken {
  return {
    apiVersion: API_VERSION,
    kind: "JoinToken",
    metadata: { name: record.id, generation: 1, creationTimestamp: new Date(record.createdAtMs).toISOString() },
    spec: { expiresAt: new Date(record.expiresAtMs).toISOString(), labels: { ...record.labels }, description: record.description },
    status: { phase: "Unused" },
  };
}

function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
