/**
 * The coordinator's own CAs, kept in a directory (0700) as ca-<n>.pem (0600: key and certificate together, so that no half of one can be there).
 * One issues; all that are there are trusted. Rotation: addSuccessor, wait until every node has renewed, promoteSuccessor.
 */
import { type KeyObject, randomBytes, type X509Certificate } from "node:crypto";
import { link, mkdir, open, readdir, readFile, rename, rm, chmod } from "node:fs/promises";
import { join } from "node:path";
import { isIP } from "node:net";
import { type Clock, type Log, sleep } from "@drover/lifecycle";
import { BACKDATE_MS, CertificateAuthority, CLIENT_AUTH, DAY_MS, type Leaf, SERVER_AUTH } from "./certificate-authority.ts";

export const NODE_LIFE_MS = 7 * DAY_MS;
export const OPERATOR_LIFE_MS = 365 * DAY_MS;
export const SERVER_LIFE_MS = 30 * DAY_MS;

export const nodeUri = (nodeId: string): string => `drover://node/${nodeId}`;
export const operatorUri = (name: string): string => `drover://operator/${name}`;

const FOLLOW_MS = 1000;
const CA_FILE = /^ca-(\d+)\.pem$/;
const ISSUING_FILE = "issuing";

/** The directory is damaged; the message says what to do. */
export class AuthorityUnusable extends Error {
  override readonly name = "AuthorityUnusable";
}

/**
 * Opens the authority in a directory; the first start makes the directory and the first CA.
 * Another process that does the same at the same moment gets the same CA.
 * @throws AuthorityUnusable when a file in it cannot be read as a CA
 */
export async function openAuthority(directory: string, clock: Clock): Promise<Authority> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const authority = new Authority(directory, clock);
  await authority.load();
  return authority;
}

export class Authority {
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  #all: { readonly number: number; readonly ca: CertificateAuthority }[] = [];
  #issuing!: CertificateAuthority;

  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  /** What `openAuthority` calls; also picks up what another process added. */
  async load(): Promise<void> {
    if ((await this.#numbers()).length === 0) await this.#generate(1);
    const all = [];
    for (const number of await this.#numbers()) {
      const path = join(this.#directory, `ca-${number}.pem`);
      try {
        all.push({ number, ca: await CertificateAuthority.load(await readFile(path, "utf8")) });
      } catch (error) {
        throw new AuthorityUnusable(`${path} is no CA of ours: ${(error as Error).message}; restore it from a backup`, { cause: error });
      }
    }
    const wanted = await this.#issuingNumber();
    const issuing = all.find(({ number }) => number === wanted);
    if (issuing === undefined)
      throw new AuthorityUnusable(
        `${join(this.#directory, ISSUING_FILE)} names ca-${wanted}.pem, which is not there; restore it from a backup`,
      );
    this.#all = all;
    this.#issuing = issuing.ca;
    for (const changed of this.#listeners) changed();
  }

  /** "sha256:<hex>" over the issuing CA's SPKI. */
  get pin(): string {
    return this.#issuing.pin;
  }

  /** Of the CA made last: who holds the bundle with this one can follow its promotion. */
  get newestPin(): string {
    return this.#newest.pin;
  }

  /** The CA that is trusted and waits to issue; undefined: no rotation is under way. */
  get successor(): { readonly pin: string; readonly sinceMs: number } | undefined {
    const newest = this.#newest;
    if (newest === this.#issuing) return undefined;
    return { pin: newest.pin, sinceMs: Date.parse(newest.certificate.validFrom) + BACKDATE_MS };
  }

  /** X.509 DER of every CA to trust, the issuing one first. */
  get bundle(): readonly Buffer[] {
    const others = this.#all.filter(({ ca }) => ca !== this.#issuing);
    return [this.#issuing, ...others.map(({ ca }) => ca)].map((ca) => ca.certificate.raw);
  }

  get bundlePem(): string {
    return pemOf(this.bundle);
  }

  hasIssued(certificate: X509Certificate): boolean {
    return this.#all.some(({ ca }) => ca.hasIssued(certificate));
  }

  issueNode(nodeId: string, publicKey: KeyObject): Promise<Leaf> {
    return this.#issueClient(nodeId, nodeUri(nodeId), NODE_LIFE_MS, publicKey);
  }

  issueOperator(name: string, publicKey: KeyObject): Promise<Leaf> {
    return this.#issueClient(name, operatorUri(name), OPERATOR_LIFE_MS, publicKey);
  }

  /** @param hosts DNS names and IP addresses that clients dial */
  issueServer(hosts: readonly string[], publicKey: KeyObject): Promise<Leaf> {
    const names = hosts.map((value) => ({ type: isIP(value) === 0 ? ("dns" as const) : ("ip" as const), value }));
    const profile = { commonName: "drover-coordinator", names, usage: SERVER_AUTH, lifeMs: SERVER_LIFE_MS };
    return this.#issuing.issue(publicKey, profile, this.#clock.now());
  }

  /** A new CA that is trusted from now on and does not issue yet. @returns its pin */
  async addSuccessor(): Promise<string> {
    const next = Math.max(...this.#all.map(({ number }) => number)) + 1;
    await this.#generate(next);
    await this.load();
    return this.newestPin;
  }

  /** From now on the newest CA issues; the others stay trusted. */
  async promoteSuccessor(): Promise<void> {
    await this.#write(ISSUING_FILE, `${this.#all.at(-1)!.number}\n`, rename);
    await this.load();
  }

  /** Takes over what another process adds or promotes, within a second; until the signal aborts. */
  async run(signal: AbortSignal, log: Log): Promise<void> {
    let seen = await this.#fingerprint();
    while (!signal.aborted) {
      await sleep(this.#clock, FOLLOW_MS, signal).catch(() => undefined);
      try {
        const present = await this.#fingerprint();
        if (signal.aborted || present === seen) continue;
        await this.load();
        seen = present;
        log.info({ issuing: this.pin, trusted: this.#all.length, successor: this.successor?.pin }, "certificate authorities changed");
      } catch (error) {
        log.error({ error: (error as Error).message }, "certificate authorities cannot be read; going on with those known");
      }
    }
  }

  /** Called whenever the bundle or the issuing CA changed. @returns what takes the listener away */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #issueClient(commonName: string, uri: string, lifeMs: number, publicKey: KeyObject): Promise<Leaf> {
    const profile = { commonName, names: [{ type: "url" as const, value: uri }], usage: CLIENT_AUTH, lifeMs };
    return this.#issuing.issue(publicKey, profile, this.#clock.now());
  }

  get #newest(): CertificateAuthority {
    return this.#all.at(-1)!.ca;
  }

  async #fingerprint(): Promise<string> {
    return JSON.stringify([await this.#numbers(), await this.#issuingNumber()]);
  }

  async #numbers(): Promise<number[]> {
    const found = (await readdir(this.#directory)).map((file) => Number(CA_FILE.exec(file)?.[1] ?? 0));
    return found.filter((number) => number > 0).sort((a, b) => a - b);
  }

  async #issuingNumber(): Promise<number> {
    try {
      return Number(await readFile(join(this.#directory, ISSUING_FILE), "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return 1;
      throw error;
    }
  }

  async #generate(number: number): Promise<void> {
    try {
      // link, not rename: of two processes that make the same CA one must lose.
      await this.#write(`ca-${number}.pem`, await CertificateAuthority.generate(this.#clock.now()), link);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }

  async #write(name: string, text: string, place: (from: string, to: string) => Promise<void>): Promise<void> {
    const temporary = join(this.#directory, `.${name}.${randomBytes(6).toString("hex")}`);
    try {
      const file = await open(temporary, "wx", 0o600);
      await file.writeFile(text);
      await file.sync();
      await file.close();
      await place(temporary, join(this.#directory, name));
      const directory = await open(this.#directory, "r");
      await directory.sync();
      await directory.close();
    } finally {
      await rm(temporary, { force: true });
    }
  }
}

/** DER certificates as one PEM text. */
export function pemOf(certificates: readonly Buffer[]): string {
  const lines = (der: Buffer): string => der.toString("base64").replace(/.{1,64}/g, "$&\n");
  return certificates.map((der) => `-----BEGIN CERTIFICATE-----\n${lines(der)}-----END CERTIFICATE-----\n`).join("");
}
