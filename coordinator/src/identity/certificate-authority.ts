/** One CA: an EC P-256 key, its certificate, and the making of leaves. Where CAs are kept is authority.ts's. */
import "reflect-metadata";
import { createHash, type KeyObject, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";

export const DAY_MS = 24 * 3_600_000;
const CA_LIFE_MS = 3650 * DAY_MS;
/** Machines' clocks differ; a certificate that is not valid yet helps nobody. */
export const BACKDATE_MS = 2 * 3_600_000;
const EC_P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
export const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
export const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";

export interface Leaf {
  /** X.509 DER, leaf first, then its CA. */
  readonly chain: readonly Buffer[];
  /** Lower-case hex. */
  readonly serial: string;
  readonly notAfterMs: number;
  /** SHA-256 hex over the SPKI. */
  readonly keyFingerprint: string;
}

export interface LeafProfile {
  readonly commonName: string;
  readonly names: readonly { readonly type: "url" | "dns" | "ip"; readonly value: string }[];
  readonly usage: string;
  readonly lifeMs: number;
}

export class CertificateAuthority {
  readonly certificate: X509Certificate;
  /** "sha256:<hex>" over the SPKI; what agents pin. */
  readonly pin: string;
  readonly #key: webcrypto.CryptoKey;

  constructor(certificate: X509Certificate, key: webcrypto.CryptoKey) {
    this.certificate = certificate;
    this.pin = `sha256:${spkiFingerprint(certificate.publicKey)}`;
    this.#key = key;
  }

  /** A new key and its self-signed certificate, as PEM: PKCS#8 key, then certificate. */
  static async generate(nowMs: number): Promise<string> {
    const keys = await webcrypto.subtle.generateKey(EC_P256, true, ["sign", "verify"]);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: newSerial(),
      // Each CA has its own name, so that a chain cannot be built through the wrong one.
      name: [{ CN: [`Drover CA ${randomBytes(4).toString("hex")}`] }],
      notBefore: new Date(nowMs - BACKDATE_MS),
      notAfter: new Date(nowMs + CA_LIFE_MS),
      signingAlgorithm: EC_P256,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
    return `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n${certificate.toString("pem")}\n`;
  }

  /** @param pem what generate made. @throws when it is not that */
  static async load(pem: string): Promise<CertificateAuthority> {
    const key = x509.PemConverter.decodeWithHeaders(pem).find(({ type }) => type === "PRIVATE KEY");
    if (key === undefined) throw new Error("holds no PRIVATE KEY");
    const signingKey = await webcrypto.subtle.importKey("pkcs8", key.rawData, EC_P256, false, ["sign"]);
    return new CertificateAuthority(new X509Certificate(pem.slice(pem.indexOf("-----BEGIN CERTIFICATE"))), signingKey);
  }

  async issue(publicKey: KeyObject, profile: LeafProfile, nowMs: number): Promise<Leaf> {
    const spki = publicKey.export({ type: "spki", format: "der" });
    // Seconds, because X.509 has no more: what we record is what the certificate says.
    const notAfterMs = Math.floor((nowMs + profile.lifeMs) / 1000) * 1000;
    const serial = newSerial();
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: serial,
      subject: [{ CN: [profile.commonName] }],
      issuer: new x509.X509Certificate(this.certificate.raw).subjectName,
      notBefore: new Date(nowMs - BACKDATE_MS),
      notAfter: new Date(notAfterMs),
      signingAlgorithm: EC_P256,
      publicKey: new x509.PublicKey(spki),
      signingKey: this.#key,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([profile.usage]),
        new x509.SubjectAlternativeNameExtension([...profile.names]),
        await x509.AuthorityKeyIdentifierExtension.create(
          new x509.PublicKey(this.certificate.publicKey.export({ type: "spki", format: "der" })),
        ),
      ],
    });
    return { chain: [Buffer.from(leaf.rawData), this.certificate.raw], serial, notAfterMs, keyFingerprint: spkiFingerprint(publicKey) };
  }

  /** Whether this CA signed it; says nothing of its dates. */
  hasIssued(certificate: X509Certificate): boolean {
    return certificate.checkIssued(this.certificate) && certificate.verify(this.certificate.publicKey);
  }
}

/** SHA-256 hex over the key's SPKI. */
export function spkiFingerprint(publicKey: KeyObject): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** Serial as all records have it. */
export function serialOf(certificate: X509Certificate): string {
  return certificate.serialNumber.toLowerCase();
}

/** 16 random bytes, positive and without leading zeros, so that everybody writes it alike. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = 0x40 | (bytes[0]! & 0x3f);
  return bytes.toString("hex");
}
