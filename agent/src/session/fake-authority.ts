/** A CA for tests: certificates with any dates, made in memory. */
import "reflect-metadata";
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { spkiPin } from "./pin.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export class FakeAuthority {
  readonly certificate: X509Certificate;
  readonly pin: string;
  readonly #key: webcrypto.CryptoKey;

  private constructor(certificate: X509Certificate, key: webcrypto.CryptoKey) {
    this.certificate = certificate;
    this.pin = spkiPin(certificate);
    this.#key = key;
  }

  static async make(): Promise<FakeAuthority> {
    const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serial(),
      name: [{ CN: [`Test CA ${randomBytes(4).toString("hex")}`] }],
      notBefore: new Date(Date.now() - 3_600_000),
      notAfter: new Date(Date.now() + 86_400_000),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
    });
    return new FakeAuthority(new X509Certificate(Buffer.from(certificate.rawData)), keys.privateKey);
  }

  /** DER. */
  async issue(publicKey: KeyObject, notBeforeMs: number, notAfterMs: number, hosts: readonly string[] = []): Promise<Buffer> {
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject: [{ CN: ["test"] }],
      issuer: new x509.X509Certificate(this.certificate.raw).subjectName,
      notBefore: new Date(notBeforeMs),
      notAfter: new Date(notAfterMs),
      signingAlgorithm: ALGORITHM,
      publicKey: new x509.PublicKey(publicKey.export({ type: "spki", format: "der" })),
      signingKey: this.#key,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.SubjectAlternativeNameExtension(hosts.map((value) => ({ type: /^[\d.]+$/.test(value) ? "ip" : "dns", value }))),
      ],
    });
    return Buffer.from(leaf.rawData);
  }

  /** For 127.0.0.1 and localhost; the chain carries the CA. */
  async serverPair(): Promise<{ readonly keyPem: string; readonly chainPem: string }> {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const leaf = await this.issue(publicKey, Date.now() - 60_000, Date.now() + 86_400_000, ["127.0.0.1", "localhost"]);
    return {
      keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      chainPem: new X509Certificate(leaf).toString() + this.certificate.toString(),
    };
  }
}

/** The key that a PKCS#10 request asks a certificate for. @throws when its signature is not by that key */
export async function keyOfRequest(csr: Uint8Array): Promise<KeyObject> {
  const request = new x509.Pkcs10CertificateRequest(new Uint8Array(csr));
  if (!(await request.verify())) throw new Error("the request is not signed by its own key");
  return createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: "der", type: "spki" });
}

function serial(): string {
  return `40${randomBytes(15).toString("hex")}`;
}
