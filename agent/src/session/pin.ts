/** Finds the coordinator's CA by its pin before anything is said to the coordinator. Sends not one byte of application data. */
import { createHash, type X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { type Clock, withDeadline } from "@drover/lifecycle";

export type PinnedCa =
  | { readonly kind: "trusted"; readonly caPem: string }
  /** Somebody answered who is not the coordinator of this pin; `presented` are the pins of the CAs it showed. */
  | { readonly kind: "mismatch"; readonly presented: readonly string[] }
  | { readonly kind: "unreachable"; readonly message: string };

const MAX_CHAIN_LENGTH = 8;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 1000;

/** @param pin "sha256:<hex>" of the CA's SPKI */
export async function findPinnedCa(clock: Clock, endpoint: string, pin: string, signal: AbortSignal): Promise<PinnedCa> {
  let leaf: X509Certificate | undefined;
  try {
    leaf = await withDeadline(clock, "TLS handshake", HANDSHAKE_TIMEOUT_MS, signal, (inner) => peerCertificate(endpoint, inner));
  } catch (error) {
    signal.throwIfAborted();
    return { kind: "unreachable", message: error instanceof Error ? error.message : String(error) };
  }
  return leaf === undefined ? { kind: "mismatch", presented: [] } : caWithPin(leaf, pin);
}

/** Walks from the leaf up; each certificate must be signed by the next, which must be a CA. */
function caWithPin(leaf: X509Certificate, pin: string): PinnedCa {
  const presented: string[] = [];
  let certificate = leaf;
  for (let depth = 0; depth < MAX_CHAIN_LENGTH; depth += 1) {
    const issuer = certificate.issuerCertificate;
    if (issuer === undefined || !issuer.ca || !certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) break;
    const found = spkiPin(issuer);
    presented.push(found);
    if (found === pin) return { kind: "trusted", caPem: issuer.toString() };
    if (issuer.fingerprint256 === certificate.fingerprint256) break;
    certificate = issuer;
  }
  return { kind: "mismatch", presented };
}

/** "sha256:<hex>" of the SubjectPublicKeyInfo, as kubeadm's discovery-token-ca-cert-hash. */
export function spkiPin(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: "spki", format: "der" });
  return `sha256:${createHash("sha256").update(spki).digest("hex")}`;
}

function peerCertificate(endpoint: string, signal: AbortSignal): Promise<X509Certificate | undefined> {
  const { host, port } = splitEndpoint(endpoint);
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({
      host,
      port,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      minVersion: "TLSv1.2",
      ALPNProtocols: ["h2"],
      // The chain is judged by the pin alone: nobody in it is trusted yet.
      rejectUnauthorized: false,
    });
    const fail = (error: Error): void => {
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => fail(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("secureConnect", () => {
      signal.removeEventListener("abort", onAbort);
      resolve(socket.getPeerX509Certificate());
      // Orderly, so that the server does not count us as a broken handshake; what it says meanwhile is not read.
      socket.resume();
      socket.end();
      socket.setTimeout(CLOSE_TIMEOUT_MS, () => socket.destroy());
    });
    socket.on("error", fail);
    socket.once("close", () => fail(new Error("the connection was closed during the handshake")));
  });
}

/** "host:port", "[::1]:port". */
export function splitEndpoint(endpoint: string): { readonly host: string; readonly port: number } {
  const colon = endpoint.lastIndexOf(":");
  return { host: endpoint.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), port: Number(endpoint.slice(colon + 1)) };
}
