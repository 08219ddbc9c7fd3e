/** For tests: machines that make keys and CSRs as agents do, and an enrolment on a memory store and a virtual clock. */
import "reflect-metadata";
import { generateKeyPairSync, type KeyObject, randomBytes, sign, webcrypto } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { EnrollRequest, RecoverRequest, RenewRequest } from "@drover/proto";
import * as x509 from "@peculiar/x509";
import { memoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { type Authority, openAuthority } from "./authority.ts";
import { createEnrolment, type Enrolment, type EnrolmentDependencies, recoverProofBytes } from "./enrolment.ts";
import { createJoinToken } from "./join-tokens.ts";
import type { NatsCredentialIssuer } from "./nats-credential-issuer.ts";

/** A key made on a machine, and CSRs for it. */
export class MachineKey {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;

  constructor(curve = "P-256") {
    const pair = generateKeyPairSync("ec", { namedCurve: curve });
    this.publicKey = pair.publicKey;
    this.privateKey = pair.privateKey;
  }

  get privateKeyPem(): string {
    return this.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  }

  async csr(subject = "CN=whoever", extensions: x509.Extension[] = []): Promise<Buffer> {
    const namedCurve = this.publicKey.asymmetricKeyDetails?.namedCurve === "prime256v1" ? "P-256" : "P-384";
    const algorithm = { name: "ECDSA", namedCurve, hash: "SHA-256" };
    const imported = (format: "pkcs8" | "spki", der: Buffer, use: webcrypto.KeyUsage) =>
      webcrypto.subtle.importKey(format, der, algorithm, true, [use]);
    const keys = {
      privateKey: await imported("pkcs8", this.privateKey.export({ type: "pkcs8", format: "der" }), "sign"),
      publicKey: await imported("spki", this.publicKey.export({ type: "spki", format: "der" }), "verify"),
    };
    const request = await x509.Pkcs10CertificateRequestGenerator.create({ name: subject, keys, signingAlgorithm: algorithm, extensions });
    return Buffer.from(request.rawData);
  }
}

/** What an agent holds at its first contact. */
export class Machine {
  readonly key = new MachineKey();
  readonly natsPublicKey = newNatsPublicKey();
  readonly nonce = randomBytes(16);

  async enrollRequest(joinToken: string, hostname = "worker"): Promise<EnrollRequest> {
    const csr = await this.key.csr();
    return EnrollRequest.fromPartial({ joinToken, csr, natsPublicKey: this.natsPublicKey, nonce: this.nonce, facts: { hostname } });
  }

  async renewRequest(renewalCounter: number, key = new MachineKey()): Promise<RenewRequest> {
    return RenewRequest.fromPartial({ csr: await key.csr(), natsPublicKey: this.natsPublicKey, renewalCounter });
  }

  async recoverRequest(
    certificate: Buffer,
    atMs: number,
    options: { next?: MachineKey; signedBy?: KeyObject } = {},
  ): Promise<RecoverRequest> {
    const csr = await (options.next ?? new MachineKey()).csr();
    const proof = sign("sha256", recoverProofBytes({ atMs, csr }), options.signedBy ?? this.key.privateKey);
    return RecoverRequest.fromPartial({ certificate, csr, natsPublicKey: this.natsPublicKey, atMs, proof });
  }
}

/** A valid user nkey's public half; the nkeys library takes 15 ms for one, which a thousand machines would feel. */
export function newNatsPublicKey(): string {
  const raw = Buffer.concat([Buffer.of(20 << 3), randomBytes(32)]);
  let checksum = 0;
  for (const byte of raw) {
    checksum ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) checksum = ((checksum << 1) ^ ((checksum & 0x8000) === 0 ? 0 : 0x1021)) & 0xffff;
  }
  const bits = [...raw, checksum & 0xff, checksum >> 8].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  return bits.replace(/.{5}/g, (five) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[Number.parseInt(five, 2)]!);
}

export const fakeNats: NatsCredentialIssuer = {
  issueUserJwt: ({ nodeId, publicKey, notAfterMs }) => `${nodeId}/${publicKey}/${notAfterMs}`,
  urls: ["tls://127.0.0.1:4222"],
  caPem: "-----BEGIN CERTIFICATE-----",
};

export interface EnrolmentFixture<C extends Clock = VirtualClock> extends EnrolmentDependencies, AsyncDisposable {
  readonly clock: C;
  readonly authority: Authority;
  readonly enrolment: Enrolment;
  readonly directory: string;
  token(labels?: Record<string, string>): Promise<string>;
}

export async function enrolmentFixture(): Promise<EnrolmentFixture>;
export async function enrolmentFixture<C extends Clock>(options: { store?: Store; clock: C }): Promise<EnrolmentFixture<C>>;
export async function enrolmentFixture(options: { store?: Store; clock?: Clock } = {}): Promise<EnrolmentFixture<Clock>> {
  const clock = options.clock ?? new VirtualClock();
  const directory = await mkdtemp(join(tmpdir(), "drover-identity-"));
  const store = options.store ?? memoryStore();
  const authority = await openAuthority(join(directory, "ca"), clock);
  const random = seededRandom(7);
  const dependencies = { store, authority, nats: fakeNats, clock, random, log: silentLog, sessionEndpoint: "127.0.0.1:7443" };
  return {
    ...dependencies,
    enrolment: createEnrolment(dependencies),
    directory,
    async token(labels = {}) {
      const made = await createJoinToken({ store, clock, random }, { ttlSeconds: 0, labels, description: "", createdBy: "operator:ann" });
      if (!made.ok) throw new Error(made.message);
      return made.token.reveal();
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await rm(directory, { recursive: true });
    },
  };
}
