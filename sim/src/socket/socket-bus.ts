/** The bus of real sockets: each agent's own connection, made again with the agent's own backoff when it ends. */
import { createSecureContext, type SecureContext } from "node:tls";
import { Nkey, openNatsTrust } from "@drover/coordinator/real";
import { exponentialBackoff, systemRandom } from "@drover/lifecycle";
import { Budget, shardOf, subjects, ToNode } from "@drover/proto";
import { derived } from "../fleet/agent-identity.ts";
import type { FleetBus } from "../fleet/ports.ts";
import { NatsSocket } from "./nats-socket.ts";

/** Handshakes under way at once: more would only wait for the server's CPU, and time out. */
const CONNECTING_AT_ONCE = 40;
const RETRY = { baseMs: 2_000, maxMs: 60_000 } as const;
/** As the agent's client. */
const PING_INTERVAL_MS = 60_000;
const PING_TURN_MS = 100;
const MAX_OUTBOUND_BYTES = 256 * 1024;
const DAY_MS = 86_400_000;

export interface SocketBusParts {
  readonly seed: number;
  readonly first: number;
  readonly nodeIds: readonly string[];
  readonly url: string;
  readonly caPem: string;
  readonly natsTrustDir: string;
  readonly onToNode: (nodeId: string, message: ToNode) => void;
  readonly onBudget: (shard: number, budget: Budget) => void;
  readonly onConnected: (agent: number) => void;
  readonly onDisconnected: (agent: number) => void;
}

/** The public half of what socketNkey signs with. */
export function socketNkey(seed: number, index: number): Nkey {
  return new Nkey("user", derived(seed, "nkey", index));
}

export class SocketBus implements FleetBus {
  readonly #parts: SocketBusParts;
  readonly #sockets: (NatsSocket | undefined)[];
  readonly #waiting: number[] = [];
  readonly #originals = new Map<number, number>();
  readonly #backoffs = new Map<number, ReturnType<typeof exponentialBackoff>>();
  readonly #secureContext: SecureContext;
  readonly #host: string;
  readonly #port: number;
  readonly #trust;
  readonly #pings: NodeJS.Timeout;
  #connecting = 0;
  #pinged = 0;
  #isClosed = false;

  constructor(parts: SocketBusParts) {
    this.#parts = parts;
    this.#sockets = Array.from({ length: parts.nodeIds.length });
    this.#secureContext = createSecureContext({ ca: parts.caPem });
    const url = new URL(parts.url);
    this.#host = url.hostname;
    this.#port = Number(url.port);
    this.#trust = openNatsTrust(parts.natsTrustDir);
    this.#pings = setInterval(() => this.#pingSome(), PING_TURN_MS);
  }

  /** All of them, as fast as the server takes them. */
  connectAll(): void {
    for (let agent = 0; agent < this.#sockets.length; agent += 1) this.#waiting.push(agent);
    this.#connectNext();
  }

  publishHeartbeat(agent: number, payload: Uint8Array): void {
    this.#ready(agent)?.publish(subjects.heartbeat(this.#parts.nodeIds[agent]!), payload);
  }

  publishReport(agent: number, payload: Uint8Array): boolean {
    const socket = this.#ready(agent);
    socket?.publish(subjects.report(this.#parts.nodeIds[agent]!), payload);
    return socket !== undefined;
  }

  /** A clone connects as its original. */
  addClone(clone: number, original: number): void {
    this.#originals.set(clone, original);
    this.#waiting.push(clone);
    this.#connectNext();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#pings);
    for (const socket of this.#sockets) socket?.close();
  }

  #ready(agent: number): NatsSocket | undefined {
    const socket = this.#sockets[agent];
    return socket !== undefined && socket.isReady && socket.waitingBytes < MAX_OUTBOUND_BYTES ? socket : undefined;
  }

  #connectNext(): void {
    while (this.#connecting < CONNECTING_AT_ONCE && !this.#isClosed) {
      const agent = this.#waiting.shift();
      if (agent === undefined) return;
      this.#connecting += 1;
      this.#connect(agent);
    }
  }

  #connect(agent: number): void {
    const { seed, first, nodeIds, onToNode, onBudget, onConnected, onDisconnected } = this.#parts;
    const nodeId = nodeIds[agent]!;
    const shard = shardOf(nodeId);
    const key = socketNkey(seed, first + (this.#originals.get(agent) ?? agent));
    let isConnecting = true;
    const connected = (): void => {
      if (!isConnecting) return;
      isConnecting = false;
      this.#connecting -= 1;
      this.#connectNext();
    };
    this.#sockets[agent] = new NatsSocket({
      host: this.#host,
      port: this.#port,
      localAddress: loopbackOf(first + agent),
      secureContext: this.#secureContext,
      name: nodeId,
      jwt: this.#trust.issueUserJwt({ nodeId, publicKey: key.publicKey, notAfterMs: Date.now() + 7 * DAY_MS }),
      sign: (nonce) => key.sign(nonce),
      subscriptions: [subjects.toNode(nodeId), subjects.budget(shard)],
      onMessage: (subscription, payload) => {
        if (subscription === 1) onToNode(nodeId, ToNode.decode(payload));
        else onBudget(shard, Budget.decode(payload));
      },
      onReady: () => {
        connected();
        this.#backoffs.delete(agent);
        onConnected(agent);
      },
      onClosed: () => {
        connected();
        onDisconnected(agent);
        this.#sockets[agent] = undefined;
        if (!this.#isClosed) this.#again(agent);
      },
    });
  }

  #again(agent: number): void {
    const backoff = this.#backoffs.get(agent) ?? exponentialBackoff(systemRandom, RETRY);
    this.#backoffs.set(agent, backoff);
    setTimeout(() => {
      this.#waiting.push(agent);
      this.#connectNext();
    }, backoff.nextDelayMs());
  }

  /** Each agent once in the interval, some at a time. */
  #pingSome(): void {
    const some = Math.ceil((this.#sockets.length * PING_TURN_MS) / PING_INTERVAL_MS);
    for (let count = 0; count < some; count += 1) {
      this.#pinged = (this.#pinged + 1) % this.#sockets.length;
      this.#sockets[this.#pinged]?.ping();
    }
  }
}

/** An address of this machine's own, another for each 200 agents: ports of one address are too few. */
function loopbackOf(index: number): string {
  const group = Math.floor(index / 200);
  return `127.${10 + (group >> 8)}.${group & 255}.${1 + (index % 200)}`;
}
