/** Kubeconfigs for tests, with a CA that is made once for each process. */
import "reflect-metadata";
import { generateKeyPairSync, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export async function testCertificate(
  isAuthority: boolean,
  endMs = Date.UTC(2050, 0, 1),
): Promise<{ readonly certificate: string; readonly key: string }> {
  const pair = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=kubernetes",
    keys: pair,
    notBefore: new Date(0),
    notAfter: new Date(endMs),
    signingAlgorithm: ALGORITHM,
    extensions: [new x509.BasicConstraintsExtension(isAuthority, undefined, true)],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", pair.privateKey));
  return {
    certificate: certificate.toString("pem"),
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString("base64")}\n-----END PRIVATE KEY-----\n`,
  };
}

export const authority = await testCertificate(true);
const client = await testCertificate(false);

export interface KubeconfigParts {
  readonly cluster?: Readonly<Record<string, unknown>>;
  readonly user?: Readonly<Record<string, unknown>>;
  readonly top?: Readonly<Record<string, unknown>>;
}

export const base64 = (text: string): string => Buffer.from(text).toString("base64");
export const certificateUser = { "client-certificate-data": base64(client.certificate), "client-key-data": base64(client.key) };
export const otherKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" }) as string;

/** One that can be used, by a token; with some of it otherwise. undefined takes a field away. */
export function testKubeconfig({ cluster = {}, user = {}, top = {} }: KubeconfigParts = {}): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    preferences: {},
    clusters: [
      { name: "c", cluster: { server: "https://10.0.0.1:6443", "certificate-authority-data": base64(authority.certificate), ...cluster } },
    ],
    users: [{ name: "u", user: { token: "canary-token", ...user } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
    ...top,
  });
}
