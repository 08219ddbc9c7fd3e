/** A fleet as the simulation steers it, in this process or in several; agents by their index in the whole fleet. */
import type { AgentCounts, StepFailure } from "./sim-port.ts";

/** What is done to agents: a name, whom, and with what. */
export type Fault =
  | { readonly do: "silence" | "revive" | "duplicate" | "reportDelta"; readonly agents: readonly number[] }
  | { readonly do: "lag" | "skew" | "slowSteps" | "beatEvery"; readonly agents: readonly number[]; readonly ms: number }
  | { readonly do: "failSteps"; readonly agents: readonly number[]; readonly failure: StepFailure | undefined };

export interface LedgerEntry {
  readonly nodeId: string;
  /** Hex. */
  readonly epoch: string;
  readonly sealed: number;
  readonly acked: number;
}

export interface FleetStatus {
  readonly counts: AgentCounts;
  /** How many have not beaten yet and are not silent. */
  readonly unheard: number;
  readonly heartbeatIntervalMs: number;
  readonly worstLateMs: number;
}

export interface FleetControl {
  readonly counts: AgentCounts;
  readonly heartbeatIntervalMs: number;
  readonly isSettled: boolean;
  /** Since it was asked last, ms. */
  takeWorstLateMs(): number;
  apply(fault: Fault): void;
  setChangesPerMinute(share: number): void;
  ledger(): Promise<readonly LedgerEntry[]>;
  /** Whose CPU is the agents'. */
  readonly pids: readonly number[];
  close(): Promise<void>;
}
