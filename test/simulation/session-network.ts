/** The way from agents to the coordinator's conversations: queues with latency instead of connections, which can be cut. */
import { type Random, sleep } from "@drover/lifecycle";
import type { Conversation, Sessions } from "@drover/agent";
import { ConverseRequest, ConverseResponse } from "@drover/proto";
import type { Life } from "./life.ts";
import { Pipe } from "./pipe.ts";

export interface Server {
  readonly life: Life;
  converse(nodeId: string, inbound: AsyncIterable<ConverseRequest>, signal: AbortSignal): AsyncIterable<ConverseResponse>;
}

export interface NetworkParts {
  readonly random: Random;
  readonly latencyMs: () => number;
  /** The coordinator that listens now; undefined: nobody does. */
  readonly server: () => Server | undefined;
  readonly isCutOff: (nodeId: string) => boolean;
  readonly say: (nodeId: string, event: string) => void;
  /** The coordinator has said that a change may stay. */
  readonly confirmed: (nodeId: string, pair: { readonly planEpoch: number; readonly generation: number }) => void;
  readonly refused: (nodeId: string, answer: { readonly planEpoch: number; readonly generation: number; readonly reason: string }) => void;
}

/** Until a connection attempt into the void is given up. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Until a half-open connection is noticed, at most. */
const KEEPALIVE_MS = 20_000;

const KEPT_PLANS = 4;

interface Link {
  readonly nodeId: string;
  readonly server: Life;
  /** @param isSilent no end notices at once, only by its keepalive */
  sever(isSilent: boolean): void;
}

class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

export class SessionNetwork {
  readonly #parts: NetworkParts;
  readonly #links = new Set<Link>();
  /** By node id: the last plans that it was sent. */
  readonly #sentPlans = new Map<string, ConverseResponse[]>();
  readonly #replays = new Map<string, number>();

  constructor(parts: NetworkParts) {
    this.#parts = parts;
  }

  /** Nodes with an open session, in the order they were opened. */
  get connected(): readonly string[] {
    return [...this.#links].map(({ nodeId }) => nodeId);
  }

  /** In the node's next session an earlier plan comes first, as if it had been on its way all the time. @param which of those that are kept, 0 to 1 */
  replayPlan(nodeId: string, which: number): void {
    this.#replays.set(nodeId, which);
  }

  cut(nodeId: string, isSilent: boolean): void {
    for (const link of this.#links) if (link.nodeId === nodeId) link.sever(isSilent);
  }

  /** The kernel of a killed coordinator resets its connections. */
  serverDied(server: Life): void {
    for (const link of this.#links) if (link.server === server) link.sever(false);
  }

  /** gRPC as one life of a node's agent sees it. */
  sessionsOf(nodeId: string, life: Life): Sessions {
    return { open: (signal) => life.awaits(this.#open(nodeId, life, signal)) };
  }

  async #open(nodeId: string, life: Life, signal: AbortSignal): Promise<Conversation> {
    const { latencyMs, server, isCutOff, say } = this.#parts;
    if (isCutOff(nodeId)) {
      await sleep(life.clock, CONNECT_TIMEOUT_MS, signal);
      throw new ConnectionLost("connecting took too long");
    }
    await sleep(life.clock, latencyMs(), signal);
    const listening = server();
    if (listening === undefined) throw new ConnectionLost("connection refused");
    say(nodeId, "session opened");
    return this.#connect(nodeId, life, listening, signal);
  }

  #connect(nodeId: string, life: Life, server: Server, signal: AbortSignal): Conversation {
    const { random, latencyMs, say, refused } = this.#parts;
    const up = new Pipe<ConverseRequest>(server.life, latencyMs);
    const down = new Pipe<ConverseResponse>(life, latencyMs);
    const serverSide = new AbortController();
    const leave = (): void => {
      if (!this.#links.delete(link)) return;
      signal.removeEventListener("abort", onAbort);
      life.ended.removeEventListener("abort", onAgentEnded);
      say(nodeId, "session ended");
    };
    const breakServerSide = (afterMs: number): void => {
      server.life.clock.setTimer(afterMs, () => {
        up.fail(new ConnectionLost("connection reset"));
        serverSide.abort(new ConnectionLost("connection reset"));
      });
    };
    const link: Link = {
      nodeId,
      server: server.life,
      sever: (isSilent) => {
        leave();
        up.lose();
        down.lose();
        breakServerSide(isSilent ? random.unit() * KEEPALIVE_MS : latencyMs());
        life.clock.setTimer(isSilent ? random.unit() * KEEPALIVE_MS : latencyMs(), () => down.fail(new ConnectionLost("connection reset")));
      },
    };
    const onAbort = (): void => {
      leave();
      down.fail(signal.reason);
      breakServerSide(latencyMs());
    };
    const onAgentEnded = (): void => link.sever(false);
    this.#links.add(link);
    const which = this.#replays.get(nodeId);
    const kept = this.#sentPlans.get(nodeId) ?? [];
    if (which !== undefined && kept.length > 0) {
      this.#replays.delete(nodeId);
      down.push(kept[Math.floor(which * kept.length)]!);
    }
    signal.addEventListener("abort", onAbort, { once: true });
    life.ended.addEventListener("abort", onAgentEnded, { once: true });
    void this.#serve(nodeId, server, up, down, serverSide.signal).finally(leave);
    return {
      send: async (message) => {
        const { body } = message;
        if (body?.$case === "planAnswer" && !body.value.accepted) refused(nodeId, body.value);
        up.push(ConverseRequest.decode(ConverseRequest.encode(message).finish()));
      },
      received: () => down,
      close: () => up.close(),
    };
  }

  async #serve(
    nodeId: string,
    server: Server,
    up: Pipe<ConverseRequest>,
    down: Pipe<ConverseResponse>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      for await (const response of server.converse(nodeId, up, signal)) {
        if (!server.life.isAlive) return;
        if (response.body?.$case === "applyPlan")
          this.#sentPlans.set(nodeId, [...(this.#sentPlans.get(nodeId) ?? []), response].slice(-KEPT_PLANS));
        if (response.body?.$case === "confirmPlan") this.#parts.confirmed(nodeId, response.body.value);
        down.push(ConverseResponse.decode(ConverseResponse.encode(response).finish()));
      }
      if (server.life.isAlive) down.close();
    } catch (error) {
      if (!server.life.isAlive) return;
      this.#parts.say(nodeId, `session refused: ${(error as Error).message}`);
      down.refuse(error);
    }
  }
}
