/**
 * The coordinator's own TLS identity: a key that never touches the disk, a certificate made anew at two thirds of its life or when the CAs change,
 * handed to running gRPC servers without a restart.
 */
import { generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { type Clock, type Log, sleep } from "@drover/lifecycle";
import { type Authority, pemOf, SERVER_LIFE_MS } from "../identity/authority.ts";
import { BACKDATE_MS } from "../identity/certificate-authority.ts";

/** Looked at this often, and not only when the certificate should be due: clocks jump. */
const CHECK_INTERVAL_MS = 3_600_000;

export interface ServerTls {
  /** PEM. */
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
  /** Whose client certificates are taken. */
  readonly caCertificate: Buffer;
}

export interface ServerIdentityDependencies {
  readonly authority: Authority;
  /** DNS names and addresses that clients dial. */
  readonly hosts: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

/** Makes the first certificate. Servers may bind with it at once; `run` keeps it fresh. */
export async function openServerIdentity(dependencies: ServerIdentityDependencies): Promise<ServerIdentity> {
  const identity = new ServerIdentity(dependencies);
  await identity.reissue();
  return identity;
}

export class ServerIdentity {
  readonly #dependencies: ServerIdentityDependencies;
  readonly #listeners = new Set<() => void>();
  #current!: ServerTls;
  #issuedAtMs = 0;
  #issued = Promise.withResolvers<void>();

  constructor(dependencies: ServerIdentityDependencies) {
    this.#dependencies = dependencies;
  }

  get current(): ServerTls {
    return this.#current;
  }

  /** Called with each that takes the place of the one before; what was resumed by that one's tickets is not any more. @returns what takes the listener away */
  onIssue(listen: () => void): () => void {
    this.#listeners.add(listen);
    return () => this.#listeners.delete(listen);
  }

  /** A new key and certificate, in use by every server when resolved. */
  async reissue(): Promise<void> {
    const { authority, hosts, clock, log } = this.#dependencies;
    const keys = await promisify(generateKeyPair)("ec", { namedCurve: "P-256" });
    const leaf = await authority.issueServer(hosts, keys.publicKey);
    this.#current = {
      certificate: Buffer.from(pemOf(leaf.chain)),
      privateKey: pkcs8Of(keys.privateKey),
      caCertificate: Buffer.from(authority.bundlePem),
    };
    this.#issuedAtMs = clock.now();
    for (const listen of this.#listeners) listen();
    this.#issued.resolve();
    this.#issued = Promise.withResolvers();
    log.info({ serial: leaf.serial, notAfter: new Date(leaf.notAfterMs).toISOString() }, "server certificate issued");
  }

  /** Resolves when the next certificate is in use. */
  nextIssue(): Promise<void> {
    return this.#issued.promise;
  }

  /** Keeps the certificate fresh and follows the CAs, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { authority, clock } = this.#dependencies;
    while (!signal.aborted) {
      const changed = new AbortController();
      const forget = authority.onChange(() => changed.abort());
      await sleep(clock, CHECK_INTERVAL_MS, AbortSignal.any([signal, changed.signal])).catch(() => undefined);
      forget();
      if (!signal.aborted && (changed.signal.aborted || this.#isDue(clock.now()))) await this.reissue();
    }
  }

  #isDue(nowMs: number): boolean {
    const ageMs = nowMs - this.#issuedAtMs;
    return ageMs >= (SERVER_LIFE_MS * 2) / 3 || ageMs < -BACKDATE_MS / 2;
  }
}

function pkcs8Of(key: KeyObject): Buffer {
  return Buffer.from(key.export({ type: "pkcs8", format: "pem" }));
}
