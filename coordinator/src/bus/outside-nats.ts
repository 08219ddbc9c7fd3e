/**
 * A NATS cluster that is somebody else's: an account in it, a signing key of that account, and a system user. Users are issued here as for the
 * embedded server; revoking one needs the account's claims signed anew, for which the key of the NATS operator must be handed over, too.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Clock, type Log, sleep } from "@drover/lifecycle";
import { connect, jwtAuthenticator } from "@nats-io/transport-node";
import type { NatsCredentialIssuer } from "../identity/nats-credential-issuer.ts";
import { makePrivateDirectory } from "./durable-file.ts";
import { nodeClaims, readAccountJwt, userJwt, withRevocations } from "./nats-jwt.ts";
import { NatsUnavailable } from "./nats-listen.ts";
import { type AccountView, asSystem, type SystemTarget, tellAccountClaims, viewAccount } from "./nats-system.ts";
import { type NatsUser, REVOCATIONS } from "./nats-trust.ts";
import { isPublicNkey, Nkey, type NkeyRole } from "./nkey.ts";
import { openRevokedUsers, type RevokedUsers } from "./revoked-users.ts";

export interface OutsideNatsOptions {
  readonly urls: readonly string[];
  readonly accountId: string;
  readonly accountSigningKeyFile: string;
  readonly systemUserCredsFile: string;
  readonly caFile: string;
  /** undefined: revoked users cannot be cut by us. */
  readonly operatorSigningKeyFile?: string | undefined;
  /** Where the list of revoked users is kept: to be backed up. */
  readonly trustDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** The servers are asked this often whether they still know what was revoked: one that restarted may have forgotten. */
const KEEP_MS = 10_000;
const SYSTEM_DEADLINE_MS = 4_500;
const CONNECT_TIMEOUT_MS = 2_000;
/** Of the coordinator's own user; at its end the bus connects again with a new one. */
const OWN_LIFE_MS = 30 * 24 * 3_600_000;

/** Reads the files; asks nobody yet. @throws NatsUnavailable with the file that cannot be used, and why */
export function openOutsideNats(options: OutsideNatsOptions): OutsideNats {
  const caPem = read("nats.outside.caFile", options.caFile);
  const signingKey = readKey("nats.outside.accountSigningKeyFile", options.accountSigningKeyFile, "account");
  const systemUser = readCreds("nats.outside.systemUserCredsFile", options.systemUserCredsFile);
  const { operatorSigningKeyFile } = options;
  const operatorKey =
    operatorSigningKeyFile === undefined ? undefined : readKey("nats.outside.operatorSigningKeyFile", operatorSigningKeyFile, "operator");
  makePrivateDirectory(options.trustDir);
  return new OutsideNats(options, { caPem, signingKey, systemUser, operatorKey }, openRevokedUsers(join(options.trustDir, REVOCATIONS)));
}

interface OutsideKeys {
  readonly caPem: string;
  readonly signingKey: Nkey;
  readonly systemUser: NatsUser;
  readonly operatorKey: Nkey | undefined;
}

export class OutsideNats implements NatsCredentialIssuer {
  readonly caPem: string;
  readonly urls: readonly string[];
  readonly accountId: string;
  /** "A...", the public half of the key that signs users. */
  readonly signingKeyId: string;
  /** "O...". undefined: none was handed over. */
  readonly operatorKeyId: string | undefined;
  readonly system: SystemTarget;
  readonly #options: OutsideNatsOptions;
  readonly #keys: OutsideKeys;
  readonly #revoked: RevokedUsers;
  readonly #ownKey = Nkey.create("user");

  constructor(options: OutsideNatsOptions, keys: OutsideKeys, revoked: RevokedUsers) {
    this.#options = options;
    this.#keys = keys;
    this.#revoked = revoked;
    this.caPem = keys.caPem;
    this.urls = options.urls;
    this.accountId = options.accountId;
    this.signingKeyId = keys.signingKey.publicKey;
    this.operatorKeyId = keys.operatorKey?.publicKey;
    this.system = { urls: options.urls, caPem: keys.caPem, user: () => keys.systemUser, clock: options.clock };
  }

  /** Nothing that we could start again: who runs the cluster is told. */
  noteStorage(isThere: boolean): void {
    if (!isThere) this.#options.log.error({ account: this.accountId }, "the NATS account has no JetStream; its operator must grant it");
  }

  /** What the coordinator itself connects to. */
  get busUrls(): readonly string[] {
    return this.urls;
  }

  issueUserJwt(node: { readonly nodeId: string; readonly publicKey: string; readonly notAfterMs: number }): string {
    if (!isPublicNkey("user", node.publicKey)) throw new Error("not the public key of a NATS user");
    return this.#issue(nodeClaims(node.nodeId, node.publicKey, node.notAfterMs));
  }

  /** Everything within the account; its key lives as long as this process. */
  coordinatorUser(): NatsUser {
    const notAfterMs = this.#options.clock.now() + OWN_LIFE_MS;
    return { jwt: this.#issue({ publicKey: this.#ownKey.publicKey, name: "coordinator", notAfterMs }), seed: this.#ownKey.seed() };
  }

  /**
   * Durable at once; resolves when every server that answers has it in its claims, whoever put it there.
   * @throws when that cannot be reached; without the operator's key that is so until the account's owner has revoked the user
   */
  async revokeUser(publicKey: string, atMs: number): Promise<void> {
    this.#revoked.add(publicKey, atMs);
    await this.#tell([publicKey]);
  }

  /** Tells servers again what they do not know of revocations; until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      const users = this.#revoked.users;
      if (this.#keys.operatorKey !== undefined && users.length > 0) {
        await this.#tell(users).catch((error: Error) => log.warn({ error: error.message }, "NATS could not be held to what is revoked"));
      }
      await sleep(clock, KEEP_MS, signal).catch(() => undefined);
    }
  }

  #issue(claims: Parameters<typeof userJwt>[2]): string {
    return userJwt(this.#keys.signingKey, this.accountId, claims, this.#options.clock.now());
  }

  async #tell(users: readonly string[]): Promise<void> {
    const { clock, log } = this.#options;
    const { operatorKey } = this.#keys;
    await asSystem(this.system, SYSTEM_DEADLINE_MS, async (connection) => {
      let view = await viewAccount(connection, this.accountId);
      if (isRevokedEverywhere(view, users)) return;
      const newest = newestOf(view);
      if (operatorKey === undefined) {
        throw new Error(
          `only the operator of NATS can cut ${users.join(", ")}: run nsc revocations add-user --account ${newest?.name || this.accountId} ` +
            `--user-public-key ${users[0]} && nsc push, or hand over nats.outside.operatorSigningKeyFile; until then the user JWT is good to its end`,
        );
      }
      // A server to which nobody of the account has connected skips the update and would let the user in later.
      await this.#touchAll();
      view = await viewAccount(connection, this.accountId);
      const base = newestOf(view);
      if (base === undefined) throw new Error(`no NATS server holds the account ${this.accountId}`);
      await tellAccountClaims(connection, this.accountId, withRevocations(operatorKey, base.jwt, users, clock.now()));
      view = await viewAccount(connection, this.accountId);
      if (!isRevokedEverywhere(view, users)) throw new Error("a NATS server does not show the revocation that it was told");
      log.info({ users: users.length, servers: view.servers.length }, "revocations told to NATS");
    });
  }

  async #touchAll(): Promise<void> {
    const user = this.coordinatorUser();
    const touch = async (url: string): Promise<void> => {
      const connection = await connect({
        servers: url,
        name: "drover-coordinator-touch",
        tls: { ca: this.caPem },
        authenticator: jwtAuthenticator(user.jwt, Buffer.from(user.seed)),
        reconnect: false,
        ignoreClusterUpdates: true,
        timeout: CONNECT_TIMEOUT_MS,
      });
      await connection.close();
    };
    await Promise.allSettled(this.urls.map(touch));
  }
}

/** Nobody is held to it where nobody knows the account. */
function isRevokedEverywhere({ servers, stored }: AccountView, users: readonly string[]): boolean {
  const held = [...servers.flatMap(({ accountJwt }) => (accountJwt === undefined ? [] : [accountJwt])), ...stored];
  return (
    held.length > 0 &&
    held.every((jwt) => {
      const { revocations } = readAccountJwt(jwt).nats;
      return users.every((user) => revocations[user] !== undefined);
    })
  );
}

/** The claims issued last, of all that are held anywhere. */
export function newestOf({ servers, stored }: AccountView): { readonly jwt: string; readonly name: string } | undefined {
  const held = [...servers.flatMap(({ accountJwt }) => (accountJwt === undefined ? [] : [accountJwt])), ...stored];
  return held
    .map((jwt) => ({ jwt, claims: readAccountJwt(jwt) }))
    .toSorted((a, b) => b.claims.iat - a.claims.iat)
    .map(({ jwt, claims }) => ({ jwt, name: claims.name }))[0];
}

function read(setting: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new NatsUnavailable("CredentialsUnusable", `${setting}: ${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** Neither the file's text nor the codec's words go into an error: the file holds a secret. */
function readKey(setting: string, path: string, role: NkeyRole): Nkey {
  const seed = /\bS[A-Z2-7]{50,}\b/.exec(read(setting, path))?.[0];
  try {
    return Nkey.fromSeed(role, seed ?? "");
  } catch {
    const letter = role === "account" ? "SA" : "SO";
    throw new NatsUnavailable(
      "CredentialsUnusable",
      `${setting}: ${path} holds no seed of a NATS ${role} key (${letter}...); nsc generate nkey --${role} makes one`,
    );
  }
}

function readCreds(setting: string, path: string): NatsUser {
  const text = read(setting, path);
  const jwt = /BEGIN NATS USER JWT-+\s+([\w.-]+)/.exec(text)?.[1];
  const seed = /\bSU[A-Z2-7]{50,}\b/.exec(text)?.[0];
  if (jwt !== undefined && seed !== undefined) return { jwt, seed };
  throw new NatsUnavailable(
    "CredentialsUnusable",
    `${setting}: ${path} is no creds file of a NATS user; nsc generate creds --account SYS --name USER makes one`,
  );
}
