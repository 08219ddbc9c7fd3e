/** Who may come in: the peer of each call by its certificate, its role, its rate; what is refused to an operator is audited. */
import type { ServerUnaryCall } from "@grpc/grpc-js";
import type { Clock, Log, Random } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { Peers } from "../identity/peers.ts";
import { rateLimit, type RateLimit } from "../identity/rate-limit.ts";
import { mayCall } from "../identity/roles.ts";
import type { Peer } from "../records.ts";
import { Refused, refuse } from "../refusal.ts";
import type { Store } from "../store/store.ts";
import { LiveCalls } from "./live-calls.ts";
import { Slots } from "./slots.ts";

/** A handshake costs 2 ms: a tenth of a core for those who came too early. */
const SLOTS_PER_SECOND = 50;

export type AnyCall = Pick<ServerUnaryCall<unknown, unknown>, "getAuthContext" | "getPeer">;
export type OperatorPeer = Extract<Peer, { kind: "operator" }>;
export type NodePeer = Extract<Peer, { kind: "node" }>;

export interface GateParts {
  readonly peers: Peers;
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export class Gate {
  readonly live = new LiveCalls();
  readonly #parts: GateParts;
  readonly #operatorCalls: RateLimit;
  readonly #nodeCalls: RateLimit;
  readonly #nodeMessages: RateLimit;
  readonly #refusalRecords: RateLimit;
  readonly #slots: Slots;
  readonly #forget: () => void;
  #isTurnedAway: (peer: string) => boolean = () => false;

  constructor(parts: GateParts) {
    this.#parts = parts;
    this.#operatorCalls = rateLimit(parts.clock, { burst: 400, perSecond: 100 });
    this.#nodeCalls = rateLimit(parts.clock, { burst: 20, perSecond: 1 });
    this.#nodeMessages = rateLimit(parts.clock, { burst: 2_000, perSecond: 200 });
    this.#slots = new Slots(parts.clock, SLOTS_PER_SECOND);
    // A refusal costs a commit: it must not be a way to fill the store.
    this.#refusalRecords = rateLimit(parts.clock, { burst: 50, perSecond: 2 });
    this.#forget = parts.peers.onRevoked(({ kind, name }) => {
      this.live.cut(`${kind}:${name}`, new Refused(refuse("Revoked", `${kind} ${name} is revoked`)));
    });
  }

  close(): void {
    this.#forget();
  }

  /** Whose connection is over its share is told when to come again. @param isTurnedAway by what gRPC names the peer */
  turnAway(isTurnedAway: (peer: string) => boolean): void {
    this.#isTurnedAway = isTurnedAway;
  }

  /** @throws Refused */
  async operator(call: AnyCall, method: string): Promise<OperatorPeer> {
    const peer = this.#peer(call);
    if (this.#isTurnedAway(call.getPeer())) throw this.#later("Busy", "too many connections of operators, or of this one");
    if (peer.kind !== "operator") {
      await this.#record(`node:${peer.nodeId}`, method, "NotAnOperator: a node's certificate");
      throw new Refused(refuse("NotAnOperator", "a node's certificate is no operator's"));
    }
    if (!mayCall(peer.role, method)) {
      const message = `role ${peer.role} may not call ${method}`;
      await this.#record(`operator:${peer.name}`, method, message);
      throw new Refused(refuse("RoleTooLow", `${message}; ask an admin`));
    }
    if (!this.#operatorCalls.take(peer.name)) throw new Refused(refuse("RateLimited", "too many calls; wait a moment and try again"));
    return peer;
  }

  /** @throws Refused */
  node(call: AnyCall): NodePeer {
    const peer = this.#peer(call);
    if (peer.kind !== "node") throw new Refused(refuse("NotANode", "an operator's certificate is no node's"));
    if (this.#isTurnedAway(call.getPeer()))
      throw this.#later("Busy", "as many nodes are connected as there is room for, or this one too often");
    if (!this.#nodeCalls.take(peer.nodeId)) throw this.#later("RateLimited", "too many sessions of this node");
    return peer;
  }

  /** One more message of a node inside its session. @throws Refused */
  nodeMessage(nodeId: string): void {
    if (!this.#nodeMessages.take(nodeId)) throw new Refused(refuse("RateLimited", "too many messages; back off"));
  }

  #later(reason: "Busy" | "RateLimited", message: string): Refused {
    const comeAgainInMs = this.#slots.next();
    return new Refused({ ...refuse(reason, `${message}; come again in ${Math.ceil(comeAgainInMs / 1_000)} s`), comeAgainInMs });
  }

  #peer(call: AnyCall): Peer {
    const identified = this.#parts.peers.identifyPeer(call.getAuthContext().sslPeerCertificate?.raw);
    if (!identified.ok) throw new Refused(identified);
    return identified.peer;
  }

  async #record(actor: string, method: string, message: string): Promise<void> {
    const { store, clock, random } = this.#parts;
    if (!this.#refusalRecords.take(actor)) return;
    const entry = {
      atMs: clock.now(),
      actor,
      action: "PermissionDenied",
      target: `Operator/${method}`,
      outcome: "refused",
      message,
    } as const;
    await store.commit([auditOperation(entry, random)]);
  }
}
