/** What makes this machine that node: its keys, made here and never sent, and the credential the coordinator gave for them. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { Secret } from "@drover/lifecycle";
import { isNodeId, NodeCredential } from "@drover/proto";
import { createUser } from "@nats-io/nkeys";
import type { StateDirectory } from "../ports.ts";

const IDENTITY_FILE = "identity.json";
const PENDING_FILE = "pending-identity.json";

export interface NodeKeys {
  /** EC P-256, PKCS#8 PEM. */
  readonly privateKeyPem: Secret;
  /** NATS user seed, "SU...". */
  readonly natsSeed: Secret;
  /** Public half, "U...". */
  readonly natsPublicKey: string;
}

export interface NodeIdentity {
  readonly nodeId: string;
  readonly keys: NodeKeys;
  readonly credential: NodeCredential;
  /** Unix milliseconds, of the leaf. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Keys that were offered but not yet certified: an answer that was lost must find the same ones again. */
export interface PendingIdentity {
  readonly keys: NodeKeys;
  /** 16 bytes. */
  readonly nonce: Buffer;
}

/** The coordinator's answer, or the file on disk, cannot be used. */
export class UnusableIdentity extends Error {
  override readonly name = "UnusableIdentity";
}

export function makeNodeKeys(): NodeKeys {
  const user = createUser();
  return {
    privateKeyPem: makePrivateKey(),
    natsSeed: new Secret(Buffer.from(user.getSeed()).toString("latin1")),
    natsPublicKey: user.getPublicKey(),
  };
}

/** A fresh TLS key; the NATS key stays, since it is what revocation names. */
export function withFreshPrivateKey(keys: NodeKeys): NodeKeys {
  return { ...keys, privateKeyPem: makePrivateKey() };
}

function makePrivateKey(): Secret {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return new Secret(privateKey.export({ type: "pkcs8", format: "pem" }).toString());
}

/** Accepts a credential only when it is whole, for our key, and vouched for by the CAs that come with it. @throws UnusableIdentity */
export function identityOf(nodeId: string, keys: NodeKeys, credential: NodeCredential | undefined): NodeIdentity {
  if (!isNodeId(nodeId)) throw new UnusableIdentity("the node id is none");
  if (credential === undefined) throw new UnusableIdentity("there is no credential");
  const { certificateChain, caBundle, natsUrls, natsUserJwt, sessionEndpoint } = credential;
  if (certificateChain.length === 0) throw new UnusableIdentity("the certificate is missing");
  // An empty bundle would make gRPC trust the system's roots instead.
  if (caBundle.length === 0) throw new UnusableIdentity("the CA bundle is empty");
  if (natsUrls.length === 0 || natsUserJwt === "") throw new UnusableIdentity("the NATS credential is missing");
  if (sessionEndpoint === "") throw new UnusableIdentity("the session endpoint is missing");
  const chain = certificateChain.map(readCertificate);
  const authorities = caBundle.map(readCertificate);
  const leaf = chain[0]!;
  if (!leaf.checkPrivateKey(createPrivateKey(keys.privateKeyPem.reveal())))
    throw new UnusableIdentity("the certificate is for another key");
  const isVouchedFor = chain.some((certificate) => authorities.some((authority) => certificate.verify(authority.publicKey)));
  if (!isVouchedFor) throw new UnusableIdentity("the certificate is not signed by a CA of its bundle");
  return { nodeId, keys, credential, notBeforeMs: Date.parse(leaf.validFrom), notAfterMs: Date.parse(leaf.validTo) };
}

function readCertificate(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch {
    throw new UnusableIdentity("a certificate cannot be read");
  }
}

export function caBundlePem(credential: NodeCredential): string {
  return credential.caBundle.map(pemOf).join("");
}

export function certificateChainPem(credential: NodeCredential): string {
  return credential.certificateChain.map(pemOf).join("");
}

function pemOf(der: Uint8Array): string {
  return new X509Certificate(der).toString();
}

/** The identity's place on disk. Every write is durable when it resolves. */
export class IdentityStore {
  readonly #state: StateDirectory;

  constructor(state: StateDirectory) {
    this.#state = state;
  }

  /** undefined: never enrolled. @throws UnusableIdentity when the file is damaged */
  async load(): Promise<NodeIdentity | undefined> {
    const stored = await this.#read(IDENTITY_FILE);
    if (stored === undefined) return undefined;
    return identityOf(stored.text("nodeId"), keysOf(stored), decodeCredential(stored.text("credential")));
  }

  /** Forgets what was pending: it is this one now. */
  async save(identity: NodeIdentity): Promise<void> {
    const credential = Buffer.from(NodeCredential.encode(identity.credential).finish()).toString("base64");
    await this.#write(IDENTITY_FILE, { nodeId: identity.nodeId, ...revealed(identity.keys), credential });
    await this.#state.removeFile(PENDING_FILE);
  }

  /** What was pending when we were interrupted, or what `make` gives, by then on disk. */
  async pending(make: () => PendingIdentity): Promise<PendingIdentity> {
    const stored = await this.#read(PENDING_FILE);
    if (stored !== undefined) return { keys: keysOf(stored), nonce: Buffer.from(stored.text("nonce"), "base64") };
    const made = make();
    await this.#write(PENDING_FILE, { ...revealed(made.keys), nonce: made.nonce.toString("base64") });
    return made;
  }

  async forgetPending(): Promise<void> {
    await this.#state.removeFile(PENDING_FILE);
  }

  async #write(file: string, fields: Readonly<Record<string, string>>): Promise<void> {
    await this.#state.writeFile(file, Buffer.from(`${JSON.stringify({ format: 1, ...fields })}\n`));
  }

  async #read(file: string): Promise<{ text(key: string): string } | undefined> {
    const content = await this.#state.readFile(file);
    if (content === undefined) return undefined;
    const fields = parseObject(content.toString("utf8"));
    if (fields?.format !== 1) throw new UnusableIdentity(`${file} is damaged`);
    return {
      text(key) {
        const value = fields[key];
        if (typeof value !== "string") throw new UnusableIdentity(`${file} has no ${key}`);
        return value;
      },
    };
  }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function decodeCredential(base64: string): NodeCredential {
  try {
    return NodeCredential.decode(Buffer.from(base64, "base64"));
  } catch {
    throw new UnusableIdentity("the credential on disk is damaged");
  }
}

function revealed(keys: NodeKeys): { privateKeyPem: string; natsSeed: string; natsPublicKey: string } {
  return { privateKeyPem: keys.privateKeyPem.reveal(), natsSeed: keys.natsSeed.reveal(), natsPublicKey: keys.natsPublicKey };
}

function keysOf(stored: { text(key: string): string }): NodeKeys {
  const privateKeyPem = stored.text("privateKeyPem");
  try {
    createPublicKey(privateKeyPem);
  } catch {
    throw new UnusableIdentity("the private key on disk is damaged");
  }
  return {
    privateKeyPem: new Secret(privateKeyPem),
    natsSeed: new Secret(stored.text("natsSeed")),
    natsPublicKey: stored.text("natsPublicKey"),
  };
}
