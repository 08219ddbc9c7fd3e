/**
 * The keys behind the embedded NATS: operator, account, system account and the coordinator's own users, kept as seeds (0600),
 * with the list of revoked users. Lies apart from NATS's own data, so that losing that data leaves every node's credential good.
 */
import { join } from "node:path";
import { z } from "zod";
import { makePrivateDirectory, readIfThere, writeDurably } from "./durable-file.ts";
import { type AccountStorage, accountJwt, nodeClaims, operatorJwt, revokedForGood, userJwt } from "./nats-jwt.ts";
import { isPublicNkey, Nkey, type NkeyRole } from "./nkey.ts";
import { openRevokedUsers, type RevokedUsers } from "./revoked-users.ts";

const SEEDS = "nats-seeds.json";
export const REVOCATIONS = "nats-revocations.json";

const ROLES = {
  operator: "operator",
  account: "account",
  systemAccount: "account",
  coordinatorUser: "user",
  systemUser: "user",
} as const satisfies Record<string, NkeyRole>;
type KeyName = keyof typeof ROLES;

const seedsFile = z.record(z.enum(Object.keys(ROLES) as [KeyName, ...KeyName[]]), z.string());

/** Who connects: a JWT and the seed that proves its key. */
export interface NatsUser {
  readonly jwt: string;
  readonly seed: string;
}

export class NatsTrust {
  readonly #keys: Readonly<Record<KeyName, Nkey>>;
  readonly #revoked: RevokedUsers;
  readonly #now: () => number;

  constructor(keys: Readonly<Record<KeyName, Nkey>>, revoked: RevokedUsers, now: () => number) {
    this.#keys = keys;
    this.#revoked = revoked;
    this.#now = now;
  }

  get accountId(): string {
    return this.#keys.account.publicKey;
  }

  get systemAccountId(): string {
    return this.#keys.systemAccount.publicKey;
  }

  operatorJwt(): string {
    return operatorJwt(this.#keys.operator, this.systemAccountId, this.#now());
  }

  accountJwt(storage: AccountStorage): string {
    const revocations = revokedForGood(this.#revoked.users);
    return accountJwt(this.#keys.operator, { publicKey: this.accountId, name: "drover", storage, revocations }, this.#now());
  }

  systemAccountJwt(): string {
    const account = { publicKey: this.systemAccountId, name: "system", storage: undefined, revocations: {} };
    return accountJwt(this.#keys.operator, account, this.#now());
  }

  /** The coordinator's own user: everything within the account. */
  coordinatorUser(): NatsUser {
    return this.#user(this.#keys.account, this.#keys.coordinatorUser, "coordinator");
  }

  /** May change account claims on the running server. */
  systemUser(): NatsUser {
    return this.#user(this.#keys.systemAccount, this.#keys.systemUser, "system");
  }

  /** @param publicKey the node's nkey, "U..."; @param notAfterMs the end of the node's certificate */
  issueUserJwt(node: { readonly nodeId: string; readonly publicKey: string; readonly notAfterMs: number }): string {
    if (!isPublicNkey("user", node.publicKey)) throw new Error("not the public key of a NATS user");
    const claims = nodeClaims(node.nodeId, node.publicKey, node.notAfterMs);
    return userJwt(this.#keys.account, this.accountId, claims, this.#now());
  }

  isRevoked(publicKey: string): boolean {
    return this.#revoked.has(publicKey);
  }

  /** Durable when it returns; the server learns it from accountJwt(). */
  revoke(publicKey: string, atMs: number): void {
    this.#revoked.add(publicKey, atMs);
  }

  #user(account: Nkey, key: Nkey, name: string): NatsUser {
    return { jwt: userJwt(account, account.publicKey, { publicKey: key.publicKey, name }, this.#now()), seed: key.seed() };
  }
}

/**
 * Reads the keys under dir, or makes them.
 * @throws when a file there is damaged: keys are never silently replaced, since that would lock out every node
 */
export function openNatsTrust(dir: string, now: () => number = Date.now): NatsTrust {
  makePrivateDirectory(dir);
  const kept = readIfThere(join(dir, SEEDS));
  const keys = kept === undefined ? createKeys(dir) : readKeys(parse(join(dir, SEEDS), kept, seedsFile));
  return new NatsTrust(keys, openRevokedUsers(join(dir, REVOCATIONS)), now);
}

function createKeys(dir: string): Record<KeyName, Nkey> {
  const keys = mapKeys((name) => Nkey.create(ROLES[name]));
  writeDurably(join(dir, SEEDS), JSON.stringify(mapKeys((name) => keys[name].seed())));
  return keys;
}

function readKeys(seeds: Readonly<Record<KeyName, string>>): Record<KeyName, Nkey> {
  return mapKeys((name) => Nkey.fromSeed(ROLES[name], seeds[name]));
}

function mapKeys<T>(make: (name: KeyName) => T): Record<KeyName, T> {
  return Object.fromEntries((Object.keys(ROLES) as KeyName[]).map((name) => [name, make(name)])) as Record<KeyName, T>;
}

/** Neither the file's text nor the parser's words go into the error: the file holds secrets. */
function parse<T>(path: string, bytes: Buffer, schema: z.ZodType<T>): T {
  const read = schema.safeParse(jsonOrUndefined(bytes.toString("utf8")));
  if (read.success) return read.data;
  throw new Error(`${path} is damaged; restore it from a backup (without it every node must enrol again)`);
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
