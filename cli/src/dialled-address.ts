/**
 * A coordinator that is dialled by its address. TLS server names are for DNS names only (RFC 6066), but grpc-js puts there whatever it dials:
 * an address gets a stand-in name, and the certificate is held against the address itself.
 */
import { isIP } from "node:net";
import { checkServerIdentity, connect } from "node:tls";
import type { ChannelOptions, VerifyOptions } from "@grpc/grpc-js";
import type { Context } from "./context/context-file.ts";

const STAND_IN = "coordinator.drover.invalid";

/** @param endpoint "host:port"; an IPv6 address in brackets */
export function dialled(endpoint: string): { readonly options: ChannelOptions; readonly verify: VerifyOptions } {
  const { host } = hostAndPort(endpoint);
  if (isIP(host) === 0) return { options: {}, verify: {} };
  return {
    options: { "grpc.ssl_target_name_override": STAND_IN },
    verify: { checkServerIdentity: (_standIn, certificate) => checkServerIdentity(host, certificate) },
  };
}

const PROBE_MS = 3_000;

/**
 * gRPC says "unavailable" of a handshake that failed as it does of a machine that is gone; one bare handshake tells them apart.
 * @returns what is wrong with the certificates; undefined when it is not that
 */
export function findDistrust(context: Context): Promise<string | undefined> {
  const { host, port } = hostAndPort(context.endpoint);
  return new Promise((resolve) => {
    const socket = connect({
      host,
      port,
      ca: context.caPem,
      cert: context.certificatePem,
      key: context.keyPem,
      ALPNProtocols: ["h2"],
      ...(isIP(host) === 0 ? { servername: host } : {}),
      checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
    });
    const end = (distrust?: string): void => {
      socket.destroy();
      resolve(distrust);
    };
    socket.setTimeout(PROBE_MS, () => end());
    // Our certificate is judged after the handshake has ended for us: a server that then speaks has taken it, one that hangs up has not.
    let refusal: string | undefined;
    socket.once("secureConnect", () => {
      refusal = "the coordinator hung up when it had seen the certificate of this context";
    });
    socket.once("data", () => end());
    socket.once("end", () => end(refusal));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      const isOfTls = error.code !== undefined && !NETWORK_ERRORS.has(error.code);
      end(isOfTls ? `${error.code}: ${error.message.trim()}` : refusal);
    });
  });
}

const NETWORK_ERRORS: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "ETIMEDOUT",
  "EPIPE",
  "EADDRNOTAVAIL",
  "ENOTFOUND",
  "EAI_AGAIN",
]);

function hostAndPort(endpoint: string): { readonly host: string; readonly port: number } {
  const colon = endpoint.lastIndexOf(":");
  return { host: endpoint.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), port: Number(endpoint.slice(colon + 1)) };
}
