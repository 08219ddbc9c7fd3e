/** What the simulation and its workers of real sockets say to each other. */
import type { Fault, FleetStatus, LedgerEntry } from "../fleet-control.ts";

export interface WorkerArguments {
  readonly natsTrustDir: string;
  readonly authorityDir: string;
  readonly natsUrl: string;
  readonly natsCaPem: string;
  readonly sessionEndpoint: string;
  /** As FleetOptions, its plan encoded in base64. */
  readonly fleet: {
    readonly seed: number;
    readonly first: number;
    readonly agents: number;
    readonly heartbeatIntervalMs: number;
    readonly stepMs: number;
    readonly changesPerMinute: number;
    readonly pollMs: number;
    readonly firstSessionMs: number;
  };
  readonly foundPlan: string | undefined;
}

export type ToWorker =
  | { readonly type: "fault"; readonly fault: Fault }
  | { readonly type: "changes"; readonly share: number }
  | { readonly type: "ledger" };

export type FromWorker =
  | { readonly type: "status"; readonly status: FleetStatus }
  | { readonly type: "ledger"; readonly entries: readonly LedgerEntry[] };
