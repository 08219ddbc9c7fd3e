/**
 * Accepts connections before gRPC sees them: so many at once, each with a deadline for its handshake, and no more handshakes begun than the loop gets through.
 * TLS ends here; gRPC is handed who has proved who it is. Sessions are resumed by tickets, which die with the server's certificate.
 */
import { once } from "node:events";
import { createServer, type Server as TcpServer, type Socket } from "node:net";
import { createServer as createTlsServer, type SecureContextOptions, type Server as TlsServer, type TLSSocket } from "node:tls";
import type { ConnectionInjector } from "@grpc/grpc-js";
import type { Clock, Log } from "@drover/lifecycle";
import { subjectOf } from "../identity/peers.ts";
import type { ConnectionShares } from "./connection-shares.ts";
import { FairQueue } from "./fair-queue.ts";
import type { ServerIdentity } from "./server-credentials.ts";

/** A node that is woken now and then, or polls, is resumed. */
const SESSION_LIFE_SECONDS = 24 * 3600;
/** More at once do not go faster, and hold up what else the loop does. */
const HANDSHAKES_AT_ONCE = 64;
/** A handshake that takes longer waits for its peer, not for us: the next may begin. */
const SLOW_HANDSHAKE_MS = 1_000;
/** While the room is full, whoever is in it for longer than an honest peer needs makes room. */
const EVICTABLE_AFTER_MS = 2_000;
const SWEEP_MS = 250;
/** Long enough to be told when to come again. */
const TURNED_AWAY_MS = 3_000;
const BACKLOG = 4_096;
const MAX_OPERATOR_ADDRESSES = 1_000;

export interface FrontDoorParts {
  readonly address: { readonly host: string; readonly port: number };
  readonly tls: ServerIdentity;
  readonly injector: ConnectionInjector;
  /** undefined: who comes has no certificate yet. */
  readonly shares: ConnectionShares | undefined;
  readonly limits: {
    /** Before and within the handshake, and all where nobody has a certificate. */
    readonly strangers: number;
    readonly handshakeMs: number;
  };
  readonly clock: Clock;
  readonly log: Log;
}

export interface DoorCounts {
  readonly accepted: number;
  readonly handshakes: number;
  readonly resumed: number;
  /** Closed before the handshake, because the room was full. */
  readonly refusedFull: number;
  /** Closed at the handshake's deadline, or evicted before it. */
  readonly tooSlow: number;
  readonly failedHandshakes: number;
  /** Proved who they are, and were told to come later. */
  readonly turnedAway: number;
  /** Proved who they are, and were closed without a word. */
  readonly closed: number;
}

interface Stranger {
  readonly socket: Socket;
  readonly address: string;
  readonly atMs: number;
  begunAtMs: number | undefined;
}

export class FrontDoor {
  readonly #parts: FrontDoorParts;
  readonly #tcp: TcpServer;
  readonly #tls: TlsServer;
  /** In the order in which they came. */
  readonly #strangers = new Map<Socket, Stranger>();
  readonly #byPeer = new Map<string, Stranger>();
  readonly #queue = new FairQueue<Stranger>();
  readonly #begun = new Set<Stranger>();
  readonly #turnedAway = new Set<string>();
  readonly #operatorAddresses = new Set<string>();
  readonly #open = new Set<Socket>();
  readonly #forget: () => void;
  readonly #counts = { accepted: 0, handshakes: 0, resumed: 0, refusedFull: 0, tooSlow: 0, failedHandshakes: 0, turnedAway: 0, closed: 0 };
  #anonymous = 0;
  #cancelSweep: () => void = () => undefined;
  #isClosed = false;

  constructor(parts: FrontDoorParts) {
    this.#parts = parts;
    const needsCertificate = parts.shares !== undefined;
    this.#tls = createTlsServer({
      ...contextOf(parts.tls),
      requestCert: needsCertificate,
      rejectUnauthorized: needsCertificate,
      ALPNProtocols: ["h2"],
      // Ours is counted from when the connection was accepted.
      handshakeTimeout: 2 * parts.limits.handshakeMs,
      sessionTimeout: SESSION_LIFE_SECONDS,
    });
    this.#tls.on("secureConnection", (socket) => this.#secured(socket));
    this.#tls.on("tlsClientError", (_error, socket) => {
      this.#counts.failedHandshakes += 1;
      socket.destroy();
    });
    this.#forget = parts.tls.onIssue(() => this.#tls.setSecureContext(contextOf(parts.tls)));
    this.#tcp = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#tcp.on("error", (error) => parts.log.warn({ error: error.message }, "connections cannot be accepted"));
  }

  get counts(): DoorCounts {
    return this.#counts;
  }

  get strangers(): number {
    return this.#strangers.size;
  }

  /** @param peer as gRPC names it, "address:port". @returns whether it is to be told to come later */
  isTurnedAway(peer: string): boolean {
    return this.#turnedAway.has(peer);
  }

  /** @returns the port. @throws when it cannot be had */
  async listen(): Promise<number> {
    const { host, port } = this.#parts.address;
    this.#tcp.listen({ host, port, backlog: BACKLOG });
    await once(this.#tcp, "listening");
    this.#sweepSoon();
    const bound = this.#tcp.address();
    return typeof bound === "object" && bound !== null ? bound.port : port;
  }

  /** Accepts nobody any more; who is inside may stay. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelSweep();
    this.#forget();
    this.#tcp.close();
    for (const socket of this.#strangers.keys()) socket.destroy();
  }

  /** What is still open is cut. */
  destroy(): void {
    this.close();
    for (const socket of this.#open) socket.destroy();
  }

  #accept(socket: Socket): void {
    this.#counts.accepted += 1;
    const address = socket.remoteAddress;
    // A peer that resets is no event of ours.
    socket.on("error", () => undefined);
    if (address === undefined || !this.#makeRoom(address)) {
      if (address !== undefined) this.#counts.refusedFull += 1;
      socket.resetAndDestroy();
      return;
    }
    const stranger: Stranger = { socket, address, atMs: this.#parts.clock.monotonicMs(), begunAtMs: undefined };
    const peer = peerOf(socket);
    this.#strangers.set(socket, stranger);
    this.#byPeer.set(peer, stranger);
    this.#open.add(socket);
    socket.once("close", () => {
      this.#open.delete(socket);
      this.#strangers.delete(socket);
      if (this.#byPeer.get(peer) === stranger) this.#byPeer.delete(peer);
      this.#ended(stranger);
    });
    // Who says nothing takes no turn.
    socket.once("readable", () => {
      if (!this.#strangers.has(socket)) return;
      this.#queue.push(address, stranger, this.#operatorAddresses.has(address));
      this.#begin();
    });
  }

  #makeRoom(address: string): boolean {
    const { limits, clock } = this.#parts;
    if (this.#strangers.size + this.#anonymous < limits.strangers) return true;
    // Operators who were here before find a door of their own.
    if (this.#operatorAddresses.has(address) && this.#strangers.size < limits.strangers * 1.1) return true;
    const [oldest] = this.#strangers.values();
    if (oldest === undefined || clock.monotonicMs() - oldest.atMs < EVICTABLE_AFTER_MS) return false;
    this.#counts.tooSlow += 1;
    this.#strangers.delete(oldest.socket);
    oldest.socket.resetAndDestroy();
    return true;
  }

  #begin(): void {
    while (this.#begun.size < HANDSHAKES_AT_ONCE) {
      const stranger = this.#queue.next();
      if (stranger === undefined) return;
      const { socket } = stranger;
      if (!this.#strangers.has(socket) || socket.destroyed) continue;
      stranger.begunAtMs = this.#parts.clock.monotonicMs();
      this.#begun.add(stranger);
      this.#tls.emit("connection", socket);
    }
  }

  /** The handshake is done, and where a certificate is needed, one of our CAs has signed it. */
  #secured(socket: TLSSocket): void {
    const { shares, injector, clock } = this.#parts;
    const peer = peerOf(socket);
    const stranger = this.#byPeer.get(peer);
    this.#counts.handshakes += 1;
    if (socket.isSessionReused()) this.#counts.resumed += 1;
    if (stranger === undefined || !this.#strangers.delete(stranger.socket)) {
      socket.destroy();
      return;
    }
    this.#ended(stranger);
    if (shares === undefined) {
      this.#anonymous += 1;
      stranger.socket.once("close", () => (this.#anonymous -= 1));
    } else {
      const certificate = socket.getPeerX509Certificate();
      const subject = certificate && subjectOf(certificate);
      const { admission, release } = subject === undefined ? NOBODY : shares.take(subject);
      if (admission === "closed") {
        this.#counts.closed += 1;
        socket.destroy();
        return;
      }
      stranger.socket.once("close", release);
      if (admission === "turnedAway") {
        this.#counts.turnedAway += 1;
        this.#turnedAway.add(peer);
        const cancel = clock.setTimer(TURNED_AWAY_MS, () => socket.destroy());
        stranger.socket.once("close", () => {
          cancel();
          this.#turnedAway.delete(peer);
        });
      } else if (subject?.kind === "operator") this.#rememberOperator(stranger.address);
    }
    injector.injectConnection(socket);
  }

  #rememberOperator(address: string): void {
    this.#operatorAddresses.delete(address);
    this.#operatorAddresses.add(address);
    if (this.#operatorAddresses.size > MAX_OPERATOR_ADDRESSES)
      this.#operatorAddresses.delete(this.#operatorAddresses.values().next().value!);
  }

  #ended(stranger: Stranger): void {
    if (this.#begun.delete(stranger)) this.#begin();
  }

  #sweepSoon(): void {
    this.#cancelSweep = this.#parts.clock.setTimer(SWEEP_MS, () => {
      this.#sweep();
      this.#sweepSoon();
    });
  }

  #sweep(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    for (const [socket, { atMs }] of this.#strangers) {
      if (nowMs - atMs < this.#parts.limits.handshakeMs) break;
      this.#counts.tooSlow += 1;
      this.#strangers.delete(socket);
      socket.resetAndDestroy();
    }
    for (const stranger of this.#begun) {
      if (nowMs - stranger.begunAtMs! < SLOW_HANDSHAKE_MS) break;
      this.#begun.delete(stranger);
    }
    this.#begin();
  }
}

const NOBODY: ReturnType<ConnectionShares["take"]> = { admission: "closed", release: () => undefined };

/** As gRPC names it. */
function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress}:${remotePort}`;
}

function contextOf({ current }: ServerIdentity): SecureContextOptions {
  return { cert: current.certificate, key: current.privateKey, ca: current.caCertificate };
}
