/** What is read out of certificates that others made. */
import { createHash, X509Certificate } from "node:crypto";

/** As kubeadm's discovery-token-ca-cert-hash: of the public key, "sha256:<hex>". undefined: no certificate. */
export function publicKeyHash(pem: string): string | undefined {
  const certificate = certificateIn(pem);
  if (certificate === undefined) return undefined;
  const key = certificate.publicKey.export({ type: "spki", format: "der" });
  return `sha256:${createHash("sha256").update(key).digest("hex")}`;
}

/** Common name of the subject of the first certificate: "system:node:web-1". */
export function commonName(pem: string): string | undefined {
  return /^CN=(.+)$/m.exec(certificateIn(pem)?.subject ?? "")?.[1];
}

function certificateIn(pem: string): X509Certificate | undefined {
  const block = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/.exec(pem)?.[0];
  if (block === undefined) return undefined;
  try {
    return new X509Certificate(block);
  } catch {
    return undefined;
  }
}
