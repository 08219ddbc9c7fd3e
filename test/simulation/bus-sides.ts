/** The one memory bus as its users see it: the coordinator in one life, and a node's agent in one life on a link that can be cut. */
import type { AgentBus } from "@drover/agent";
import type { Bus, MemoryBus } from "@drover/coordinator";
import { Ack, Wake } from "@drover/proto";
import type { Life } from "./life.ts";
import type { Observe } from "./observations.ts";

export type Count = (actor: string, payload: Uint8Array) => void;

export interface Watchers {
  readonly observe: Observe;
  readonly count: Count;
  /** The coordinator was given a node's beat. */
  readonly heard: (nodeId: string) => void;
}

export function coordinatorBus(bus: MemoryBus, life: Life, { observe, count, heard }: Watchers): Bus {
  const during = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, life.ended]);
  return {
    get isConnected() {
      return bus.isConnected;
    },
    wake(nodeId, wake) {
      count(`wake ${nodeId}`, Wake.encode(wake).finish());
      bus.wake(nodeId, wake);
    },
    acknowledge(nodeId, ack) {
      count(`ack ${nodeId}`, Ack.encode(ack).finish());
      observe({ type: "acknowledged", node: nodeId, epoch: ack.outboxEpoch.toString("hex"), seq: ack.seq });
      bus.acknowledge(nodeId, ack);
    },
    grantBudget: (shard, budget) => bus.grantBudget(shard, budget),
    publishSentinel: (sequence) => bus.publishSentinel(sequence),
    consumeHeartbeats: (handle, signal) => {
      const handed: typeof handle = (beats) => {
        for (const { nodeId } of beats) if (nodeId !== undefined && life.isAlive) heard(nodeId);
        return handle(beats);
      };
      return life.awaits(bus.consumeHeartbeats(handed, during(signal)));
    },
    consumeReports: (after, handle, signal) => life.awaits(bus.consumeReports(after, handle, during(signal))),
    roundTripMs: () => life.awaits(bus.roundTripMs()),
    revokeUser: (publicKey, atMs) => life.awaits(bus.revokeUser(publicKey)).then(() => void atMs),
  };
}

/** A node's link to the bus outlives its agent's lives. */
export class NodeLink {
  readonly #bus: MemoryBus;
  readonly #nodeId: string;
  readonly #count: Count;
  #isCut = false;
  #notify: () => void = () => undefined;

  constructor(bus: MemoryBus, nodeId: string, count: Count) {
    this.#bus = bus;
    this.#nodeId = nodeId;
    this.#count = count;
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  setCut(isCut: boolean): void {
    if (this.#isCut === isCut) return;
    this.#isCut = isCut;
    if (!isCut) this.#notify();
  }

  portOf(life: Life): AgentBus {
    const nodeId = this.#nodeId;
    const count = this.#count;
    const isCut = (): boolean => this.#isCut;
    const onHealed = (notify: () => void): void => {
      this.#notify = notify;
    };
    const port = this.#bus.agentPort(nodeId);
    const hears = (): boolean => life.isAlive && !isCut();
    return {
      get isConnected() {
        return port.isConnected && !isCut();
      },
      publishHeartbeat(beat) {
        count(`beat ${nodeId}`, beat);
        if (hears()) port.publishHeartbeat(beat);
      },
      publishReport(batch) {
        count(`report ${nodeId}`, batch);
        return hears() && port.publishReport(batch);
      },
      onToNode: (listen) => port.onToNode((message) => hears() && listen(message)),
      onBudget: (listen) => port.onBudget((budget) => hears() && listen(budget)),
      onConnected(listen) {
        onHealed(() => life.isAlive && port.isConnected && listen());
        port.onConnected(() => hears() && listen());
      },
      run: (signal) => life.awaits(port.run(AbortSignal.any([signal, life.ended]))),
    };
  }
}
