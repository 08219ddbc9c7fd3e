/**
 * One agent's own NATS connection over TLS, with its own user JWT and nkey: the protocol alone, at a tenth of a client library's memory, so that one process
 * holds thousands. What it sends is what the agent's client sends.
 */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type SecureContext, type TLSSocket } from "node:tls";

export interface NatsSocketOptions {
  readonly host: string;
  readonly port: number;
  readonly localAddress: string;
  readonly secureContext: SecureContext;
  readonly name: string;
  readonly jwt: string;
  readonly sign: (nonce: Buffer) => Buffer;
  /** By their order, from 1. */
  readonly subscriptions: readonly string[];
  readonly onMessage: (subscription: number, payload: Buffer) => void;
  /** Signed in and subscribed. */
  readonly onReady: () => void;
  readonly onClosed: (why: string) => void;
}

const NEWLINE = 10;
const PING = "PING\r\n";
const PONG = "PONG\r\n";

export class NatsSocket {
  readonly #options: NatsSocketOptions;
  #socket: Socket | TLSSocket;
  #held: Buffer = Buffer.alloc(0);
  #isSecure = false;
  #isReady = false;
  #why = "";

  constructor(options: NatsSocketOptions) {
    this.#options = options;
    const { host, port, localAddress } = options;
    this.#socket = connectTcp({ host, port, localAddress });
    this.#listen(this.#socket);
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Bytes that the kernel has not taken. */
  get waitingBytes(): number {
    return this.#socket.writableLength;
  }

  publish(subject: string, payload: Uint8Array): void {
    const head = `PUB ${subject} ${payload.length}\r\n`;
    const message = Buffer.allocUnsafe(head.length + payload.length + 2);
    message.write(head, 0, "latin1");
    message.set(payload, head.length);
    message.write("\r\n", head.length + payload.length, "latin1");
    this.#socket.write(message);
  }

  ping(): void {
    if (this.#isReady) this.#socket.write(PING);
  }

  close(): void {
    this.#socket.destroy();
  }

  #listen(socket: Socket): void {
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.#take(chunk));
    socket.on("error", (error) => {
      this.#why ||= error.message;
    });
    socket.once("close", () => {
      if (socket !== this.#socket) return;
      this.#isReady = false;
      this.#options.onClosed(this.#why);
    });
  }

  #take(chunk: Buffer): void {
    let bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    for (;;) {
      const end = bytes.indexOf(NEWLINE);
      if (end < 0) break;
      const line = bytes.toString("latin1", 0, end - 1);
      let after = end + 1;
      if (line.startsWith("MSG ")) {
        const parts = line.split(" ");
        const length = Number(parts.at(-1));
        if (bytes.length < after + length + 2) break;
        this.#options.onMessage(Number(parts[2]), bytes.subarray(after, after + length));
        after += length + 2;
      } else this.#heard(line);
      bytes = bytes.subarray(after);
    }
    // What is kept must not hold the chunk that it came in.
    this.#held = bytes.length === 0 ? bytes : Buffer.from(bytes);
  }

  #heard(line: string): void {
    if (line.startsWith("INFO ")) {
      if (!this.#isSecure) this.#secure(line.slice(5));
    } else if (line === "PING") this.#socket.write(PONG);
    else if (line === "PONG") {
      if (this.#isReady) return;
      this.#isReady = true;
      this.#options.onReady();
    } else if (line.startsWith("-ERR")) this.#why = line;
  }

  #secure(info: string): void {
    this.#isSecure = true;
    const { nonce } = JSON.parse(info) as { nonce: string };
    const { secureContext, host, jwt, name, sign, subscriptions } = this.#options;
    const plain = this.#socket;
    plain.removeAllListeners("data");
    const secure = connectTls({ socket: plain, secureContext, host, servername: "" });
    this.#socket = secure;
    this.#listen(secure);
    const greeting = {
      verbose: false,
      pedantic: false,
      tls_required: true,
      jwt,
      sig: sign(Buffer.from(nonce)).toString("base64url"),
      name,
      lang: "nats.js",
      version: "3.4.0",
      protocol: 1,
      headers: true,
      no_responders: true,
      echo: false,
    };
    const subscribe = subscriptions.map((subject, at) => `SUB ${subject} ${at + 1}\r\n`).join("");
    secure.write(`CONNECT ${JSON.stringify(greeting)}\r\n${subscribe}${PING}`);
  }
}
