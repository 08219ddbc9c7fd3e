/** The TLS certificate that NATS shows, from a small CA of its own: nodes are given that CA when they enrol. */
import "reflect-metadata";
import { X509Certificate, webcrypto } from "node:crypto";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { makePrivateDirectory, readIfThere, writeDurably } from "./durable-file.ts";

const DAY_MS = 86_400_000;
const CA_DAYS = 10 * 365;
/** Long, because a new one is seen by clients only after a restart of the server. */
const SERVER_DAYS = 2 * 365;
const RENEW_BEFORE_DAYS = 60;
const BACKDATED_MS = 2 * 3_600_000;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export interface NatsCertificate {
  readonly caPem: string;
  readonly certificatePath: string;
  readonly keyPath: string;
}

/**
 * Reads the certificate kept under dir, or makes it; made anew when it ends within 60 days or names other hosts.
 * @param hosts DNS names and IP addresses that clients connect to
 */
export async function openNatsCertificate(dir: string, hosts: readonly string[], nowMs: number): Promise<NatsCertificate> {
  makePrivateDirectory(dir);
  const paths = {
    ca: join(dir, "nats-ca.pem"),
    caKey: join(dir, "nats-ca.key"),
    certificate: join(dir, "nats-server.pem"),
    key: join(dir, "nats-server.key"),
  };
  const keptCa = readIfThere(paths.ca)?.toString();
  const keptCaKey = readIfThere(paths.caKey)?.toString();
  let ca: { certificate: x509.X509Certificate; key: webcrypto.CryptoKey };
  if (keptCa === undefined || keptCaKey === undefined) {
    ca = await makeCa(nowMs);
    writeDurably(paths.caKey, await privatePem(ca.key));
    writeDurably(paths.ca, ca.certificate.toString("pem"));
  } else {
    ca = { certificate: new x509.X509Certificate(keptCa), key: await importKey(keptCaKey) };
  }
  if (!isGood(readIfThere(paths.certificate), readIfThere(paths.key), ca.certificate, hosts, nowMs)) {
    const server = await makeServerCertificate(ca, hosts, nowMs);
    writeDurably(paths.key, await privatePem(server.key));
    writeDurably(paths.certificate, server.certificate.toString("pem"));
  }
  return { caPem: ca.certificate.toString("pem"), certificatePath: paths.certificate, keyPath: paths.key };
}

function isGood(
  certificate: Buffer | undefined,
  key: Buffer | undefined,
  ca: x509.X509Certificate,
  hosts: readonly string[],
  nowMs: number,
): boolean {
  if (certificate === undefined || key === undefined) return false;
  const kept = new X509Certificate(certificate);
  if (Date.parse(kept.validTo) < nowMs + RENEW_BEFORE_DAYS * DAY_MS) return false;
  if (!kept.verify(new X509Certificate(ca.toString("pem")).publicKey)) return false;
  return hosts.every((host) => (isAddress(host) ? kept.checkIP(host) : kept.checkHost(host)) !== undefined);
}

async function makeCa(nowMs: number): Promise<{ certificate: x509.X509Certificate; key: webcrypto.CryptoKey }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: "CN=Drover NATS CA",
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + CA_DAYS * DAY_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, key: keys.privateKey };
}

async function makeServerCertificate(
  ca: { certificate: x509.X509Certificate; key: webcrypto.CryptoKey },
  hosts: readonly string[],
  nowMs: number,
): Promise<{ certificate: x509.X509Certificate; key: webcrypto.CryptoKey }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: "CN=Drover NATS",
    issuer: ca.certificate.subject,
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + SERVER_DAYS * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: ca.key,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        hosts.map((host) => (isAddress(host) ? { type: "ip" as const, value: host } : { type: "dns" as const, value: host })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(ca.certificate.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, key: keys.privateKey };
}

async function privatePem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey("pkcs8", x509.PemConverter.decode(pem)[0]!, ALGORITHM, true, ["sign"]);
}

/** 16 random bytes, positive. */
function serial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}

function isAddress(host: string): boolean {
  return /^[0-9.]+$/.test(host) || host.includes(":");
}
