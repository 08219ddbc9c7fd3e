/**
 * TLS for one identity whose sessions are resumed: a node that is woken again spares both sides half of the handshake. The ticket stays in memory and goes
 * with the identity; a coordinator that does not take it any more makes a full handshake of it.
 */
import { isIP, type Socket } from "node:net";
import { connect, createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { CallCredentials, ChannelCredentials, type ChannelOptions } from "@grpc/grpc-js";

type Connector = ReturnType<ChannelCredentials["_createSecureConnector"]>;
type Target = Parameters<ChannelCredentials["_createSecureConnector"]>[0];

export class ResumingCredentials extends ChannelCredentials {
  readonly #context: SecureContext;
  #session: Buffer | undefined;

  constructor(options: Pick<SecureContextOptions, "ca" | "cert" | "key">) {
    super();
    this.#context = createSecureContext(options);
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return other === this;
  }

  override _createSecureConnector(target: Target, _options: ChannelOptions, calls?: CallCredentials): Connector {
    const host = hostOf(target.path);
    return {
      connect: async (socket) => ({ socket: await this.#secure(socket, host), secure: true }),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => calls ?? CallCredentials.createEmpty(),
      destroy: () => undefined,
    };
  }

  #secure(socket: Socket, host: string): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const secured = connect({
        socket,
        host,
        // RFC 6066: names only. The certificate is checked against the host in any case.
        ...(isIP(host) === 0 ? { servername: host } : {}),
        secureContext: this.#context,
        ALPNProtocols: ["h2"],
        ...(this.#session === undefined ? {} : { session: this.#session }),
      });
      secured.once("secureConnect", () => {
        if (secured.authorized) resolve(secured);
        else reject(secured.authorizationError);
      });
      secured.on("session", (session) => (this.#session = session));
      secured.on("error", (error) => {
        // A ticket must never be what keeps us out.
        this.#session = undefined;
        reject(error);
      });
      secured.once("close", () => reject(new Error("the connection was closed during the handshake")));
    });
  }
}

/** Of "host:port", "1.2.3.4:port" or "[::1]:port". */
function hostOf(path: string): string {
  const colon = path.lastIndexOf(":");
  const host = colon < 0 || (path.indexOf(":") !== colon && !path.startsWith("[")) ? path : path.slice(0, colon);
  return host.replace(/^\[(.*)\]$/, "$1");
}
