/** The PKCS#10 request for a node's key. Only its public key counts: who we are is the coordinator's to say. */
import { createPrivateKey, createPublicKey, webcrypto } from "node:crypto";
import type { Secret } from "@drover/lifecycle";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** @returns DER */
export async function makeSigningRequest(privateKeyPem: Secret): Promise<Buffer> {
  // Needed once in days; what it loads would otherwise stay resident from the start.
  await import("reflect-metadata");
  const { Pkcs10CertificateRequestGenerator } = await import("@peculiar/x509");
  const privateKey = createPrivateKey(privateKeyPem.reveal());
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const pkcs8 = privateKey.export({ type: "pkcs8", format: "der" });
  const keys = {
    privateKey: await webcrypto.subtle.importKey("pkcs8", pkcs8, ALGORITHM, true, ["sign"]),
    publicKey: await webcrypto.subtle.importKey("spki", spki, ALGORITHM, true, ["verify"]),
  };
  const request = await Pkcs10CertificateRequestGenerator.create({ name: "CN=node", keys, signingAlgorithm: ALGORITHM });
  return Buffer.from(request.rawData);
}
