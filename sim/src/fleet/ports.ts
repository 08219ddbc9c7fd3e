/** What agents stand on, in both tiers: a bus and sessions. Who implements them calls back what comes. */
import type { ConverseRequest, ConverseResponse } from "@drover/proto";

export interface FleetBus {
  /** Dropped when the agent has no connection. */
  publishHeartbeat(agent: number, payload: Uint8Array): void;
  /** @returns false when nothing was taken */
  publishReport(agent: number, payload: Uint8Array): boolean;
}

export interface FleetSessions {
  open(agent: number, listener: SessionListener): FleetSession;
}

export interface FleetSession {
  send(body: NonNullable<ConverseRequest["body"]>): void;
  /** Nothing more is said; the coordinator ends it. */
  end(): void;
  /** As if the machine had died: nobody is told. */
  abandon(): void;
}

export interface SessionListener {
  received(message: ConverseResponse): void;
  /** @param why empty: as it should */
  ended(why: string): void;
}
