/** NATS as the coordinator sees it. Adapters: NATS (nats-bus.ts), memory (memory-bus.ts, for tests and simulation). */
import type { Ack, Budget, Wake } from "@drover/proto";

export interface Bus {
  /** Hints; lost ones are sent again by whoever notices. */
  wake(nodeId: string, wake: Wake): void;
  acknowledge(nodeId: string, ack: Ack): void;
  grantBudget(shard: number, budget: Budget): void;
  /** The coordinator's own beat, seen again in consumeHeartbeats with `node: undefined`. */
  publishSentinel(sequence: number): void;
  /** Last beat of every node first, then live; no acks. Handler is awaited between batches. Returns when the signal aborts. */
  consumeHeartbeats(handle: (beats: readonly HeartbeatMessage[]) => void | Promise<void>, signal: AbortSignal): Promise<void>;
  /**
   * From `after` on; a batch is acked to the stream (ack-all) when the handler has resolved, and what the handler resolved to, if anything,
   * is called after that. A handler's error ends it. Returns when the signal aborts.
   */
  consumeReports(after: ReportPosition | undefined, handle: ReportHandler, signal: AbortSignal): Promise<void>;
  /** Milliseconds of a round trip. @throws when there is no connection */
  roundTripMs(): Promise<number>;
  /** Cuts exactly this user, within 5 s, and for good. @param publicKey the node's NATS nkey, "U..." */
  revokeUser(publicKey: string, atMs: number): Promise<void>;
  readonly isConnected: boolean;
}

/** Takes one pull; may resolve to what is to be done once the stream has the ack. */
export type ReportHandler = (pull: ReportPull) => Promise<(() => void) | void>;

export interface HeartbeatMessage {
  /** undefined: our own sentinel. */
  readonly nodeId: string | undefined;
  readonly payload: Uint8Array;
  /** The broker's stamp, Unix milliseconds of its clock. */
  readonly brokerMs: number;
}

/** A place in the REPORTS stream; incarnation changes when the stream was made anew or went backwards. */
export interface ReportPosition {
  readonly incarnation: string;
  readonly sequence: number;
}

export interface ReportPull {
  readonly incarnation: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly messages: readonly ReportMessage[];
  /** How many messages were behind these in the stream when they were delivered; left out: none. */
  readonly waiting?: number;
}

export interface ReportMessage {
  /** From the subject; what NATS permitted the sender to be. */
  readonly nodeId: string;
  /** An encoded ReportBatch. */
  readonly payload: Uint8Array;
  readonly sequence: number;
}
