/** What the simulation and its coordinator's process say to each other, over the channel that Node gives a child. */
import type { Observation, ObservationWanted } from "../sim-port.ts";

export interface NatsAccess {
  readonly url: string;
  readonly caPem: string;
}

export type FromCoordinator =
  | { readonly type: "serving"; readonly session: number; readonly enrolment: number; readonly metrics: number; readonly nats: NatsAccess }
  | { readonly type: "verdicts"; readonly changes: readonly (readonly [nodeId: string, verdict: string, reason: string])[] }
  | { readonly type: "observed"; readonly request: number; readonly observation: Observation };

export type ToCoordinator =
  | { readonly type: "observe"; readonly request: number; readonly wanted: ObservationWanted }
  /** Addresses that answer no knock from now on, or answer again. */
  | { readonly type: "knocks"; readonly addresses: readonly string[]; readonly isAnswered: boolean };

/** Arguments of coordinator-main.ts, as JSON. */
export interface CoordinatorArguments {
  readonly configFile: string;
  readonly doorPath: string;
  /** That answer no knock from the start. */
  /** Holds a JSON array: an argument cannot be as long as those of 100,000 agents. */
  readonly silentAddressesFile: string;
}
