/** Reads what strangers send: CSRs and certificates. Never throws; of a CSR only its public key is taken, once its possession is proved. */
import "reflect-metadata";
import { createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { type Refusal, refuse } from "./refusal.ts";

/** Far above any honest one; bounds what the parser may be made to do. */
const MAX_DER_BYTES = 8 * 1024;

/** The EC P-256 key of a CSR. */
export async function keyOfCsr(der: Uint8Array): Promise<{ readonly ok: true; readonly publicKey: KeyObject } | Refusal> {
  if (der.length === 0 || der.length > MAX_DER_BYTES) return refuse("InvalidCsr", `the CSR must be 1 to ${MAX_DER_BYTES} bytes of DER`);
  try {
    const csr = new x509.Pkcs10CertificateRequest(new Uint8Array(der));
    const publicKey = createPublicKey({ key: Buffer.from(csr.publicKey.rawData), format: "der", type: "spki" });
    if (!isP256(publicKey)) return refuse("InvalidCsr", "the CSR's key must be EC P-256");
    if (!(await csr.verify())) return refuse("InvalidCsr", "the CSR's signature is not by its own key");
    return { ok: true, publicKey };
  } catch {
    return refuse("InvalidCsr", "the CSR is no PKCS#10 request in DER");
  }
}

/** An X.509 certificate; nothing in it is verified yet. */
export function parseCertificate(der: Uint8Array): X509Certificate | undefined {
  // 0x30: DER. X509Certificate would read PEM, too, and what follows the first certificate.
  if (der.length === 0 || der.length > MAX_DER_BYTES || der[0] !== 0x30) return undefined;
  try {
    const certificate = new X509Certificate(der);
    return certificate.raw.equals(der) ? certificate : undefined;
  } catch {
    return undefined;
  }
}

export function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === "ec" && key.asymmetricKeyDetails?.namedCurve === "prime256v1";
}
