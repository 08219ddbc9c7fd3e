/**
 * The three kinds of NATS JWT that Drover makes: operator, account and user (claims version 2 of github.com/nats-io/jwt).
 * What a node may do is proto's nodePermissions, and nothing here adds to it.
 */
import { createHash } from "node:crypto";
import { nodePermissions } from "@drover/proto";
import { z } from "zod";
import { base32 } from "../packed/base32.ts";
import type { Nkey } from "./nkey.ts";

/** The largest message a node may publish, in bytes; the same limit that ingest sets. */
export const NODE_MAX_PAYLOAD_BYTES = 64 * 1024;
/** toNode and budget, and one of each again while a client subscribes anew. */
const NODE_MAX_SUBSCRIPTIONS = 4;
const UNLIMITED = -1;

export interface AccountStorage {
  readonly maxMemoryBytes: number;
  readonly maxDiskBytes: number;
}

/** Self-signed; names the account whose users may speak to the server itself, and the keys that may sign accounts beside its own. */
export function operatorJwt(operator: Nkey, systemAccount: string, issuedAtMs: number, signingKeys: readonly string[] = []): string {
  return encode(operator, {
    sub: operator.publicKey,
    name: "drover",
    issuedAtMs,
    nats: {
      type: "operator",
      version: 2,
      system_account: systemAccount,
      ...(signingKeys.length === 0 ? {} : { signing_keys: signingKeys }),
    },
  });
}

/**
 * @param revocations user's public key to Unix seconds: that user's JWTs issued until then are void
 * @param storage undefined: no JetStream, as in the system account
 */
export function accountJwt(
  operator: Nkey,
  account: {
    readonly publicKey: string;
    readonly name: string;
    readonly storage: AccountStorage | undefined;
    readonly revocations: Readonly<Record<string, number>>;
    /** Keys that may sign its users beside its own. */
    readonly signingKeys?: readonly string[];
  },
  issuedAtMs: number,
): string {
  const { storage } = account;
  return encode(operator, {
    sub: account.publicKey,
    name: account.name,
    issuedAtMs,
    nats: {
      type: "account",
      version: 2,
      // Every limit is stated: a server takes an absent one for 0, and then nothing connects or no stream can be made.
      limits: {
        subs: UNLIMITED,
        data: UNLIMITED,
        payload: UNLIMITED,
        imports: 0,
        exports: 0,
        wildcards: true,
        disallow_bearer: true,
        conn: UNLIMITED,
        leaf: 0,
        mem_storage: storage?.maxMemoryBytes ?? 0,
        disk_storage: storage?.maxDiskBytes ?? 0,
        streams: storage === undefined ? 0 : 8,
        consumer: storage === undefined ? 0 : 256,
        max_ack_pending: storage === undefined ? 0 : UNLIMITED,
        mem_max_stream_bytes: storage?.maxMemoryBytes ?? 0,
        disk_max_stream_bytes: storage?.maxDiskBytes ?? 0,
        max_bytes_required: false,
      },
      ...(account.signingKeys === undefined ? {} : { signing_keys: account.signingKeys }),
      default_permissions: { pub: {}, sub: {} },
      revocations: account.revocations,
    },
  });
}

export interface UserClaims {
  /** "U...". */
  readonly publicKey: string;
  readonly name: string;
  /** undefined: everything in its account. */
  readonly permissions?: { readonly publish: readonly string[]; readonly subscribe: readonly string[] };
  readonly maxSubscriptions?: number;
  readonly maxPayloadBytes?: number;
  /** undefined: no end. */
  readonly notAfterMs?: number;
}

/** @param issuer the account's own key, or a signing key of the account named by accountId */
export function userJwt(issuer: Nkey, accountId: string, user: UserClaims, issuedAtMs: number): string {
  return encode(issuer, {
    sub: user.publicKey,
    name: user.name,
    issuedAtMs,
    ...(user.notAfterMs === undefined ? {} : { notAfterMs: user.notAfterMs }),
    nats: {
      type: "user",
      version: 2,
      ...(issuer.publicKey === accountId ? {} : { issuer_account: accountId }),
      pub: user.permissions === undefined ? {} : { allow: user.permissions.publish },
      sub: user.permissions === undefined ? {} : { allow: user.permissions.subscribe },
      subs: user.maxSubscriptions ?? UNLIMITED,
      data: UNLIMITED,
      payload: user.maxPayloadBytes ?? UNLIMITED,
      allowed_connection_types: ["STANDARD"],
    },
  });
}

/** All that a node may be on NATS. @param notAfterMs Unix milliseconds, the end of its certificate */
export function nodeClaims(nodeId: string, publicKey: string, notAfterMs: number): UserClaims {
  return {
    publicKey,
    name: nodeId,
    permissions: nodePermissions(nodeId),
    maxSubscriptions: NODE_MAX_SUBSCRIPTIONS,
    maxPayloadBytes: NODE_MAX_PAYLOAD_BYTES,
    notAfterMs,
  };
}

/** An account's JWT as somebody else made it: what is asked of it here; all else is kept as it is. */
const accountClaims = z.looseObject({
  iss: z.string(),
  sub: z.string(),
  iat: z.number(),
  name: z.string().default(""),
  nats: z.looseObject({
    revocations: z.record(z.string(), z.number()).default({}),
    // A key with a scope stands as an object.
    signing_keys: z.array(z.union([z.string(), z.looseObject({ key: z.string() })])).default([]),
    limits: z.looseObject({ streams: z.number().default(0), disk_storage: z.number().default(0), mem_storage: z.number().default(0) }),
  }),
});
export type AccountClaims = z.infer<typeof accountClaims>;

/** Reads, and does not verify: whoever hands it out did. @throws when it is no account's JWT */
export function readAccountJwt(jwt: string): AccountClaims {
  return accountClaims.parse(JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()));
}

/** The same account with more users revoked, for good. @param operator the operator's own key or one of its signing keys */
export function withRevocations(operator: Nkey, jwt: string, users: Iterable<string>, issuedAtMs: number): string {
  const { sub, name, nats } = readAccountJwt(jwt);
  const revocations = { ...nats.revocations, ...revokedForGood(users) };
  return encode(operator, { sub, name, issuedAtMs, nats: { ...nats, revocations } });
}

/** 1 January 9999: whatever JWT such a user shows, also one issued later by mistake, is void. */
const FOR_GOOD_SECONDS = 253_370_764_800;

export function revokedForGood(users: Iterable<string>): Readonly<Record<string, number>> {
  return Object.fromEntries([...users].map((user) => [user, FOR_GOOD_SECONDS]));
}

interface Claims {
  readonly sub: string;
  readonly name: string;
  readonly issuedAtMs: number;
  readonly notAfterMs?: number;
  readonly nats: object;
}

function encode(issuer: Nkey, claims: Claims): string {
  const body = {
    iss: issuer.publicKey,
    sub: claims.sub,
    name: claims.name,
    iat: Math.floor(claims.issuedAtMs / 1000),
    ...(claims.notAfterMs === undefined ? {} : { exp: Math.floor(claims.notAfterMs / 1000) }),
    nats: claims.nats,
  };
  const jti = base32(createHash("sha256").update(JSON.stringify(body)).digest());
  const header = Buffer.from(JSON.stringify({ typ: "JWT", alg: "ed25519-nkey" })).toString("base64url");
  const signed = `${header}.${Buffer.from(JSON.stringify({ ...body, jti })).toString("base64url")}`;
  return `${signed}.${issuer.sign(Buffer.from(signed)).toString("base64url")}`;
}
