/** How the coordinator says no to what people and nodes ask: as data where the answer is awaited, thrown where it ends a stream. rpc/ turns the status into a number. */

export type RefusalStatus =
  | "INVALID_ARGUMENT"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "UNAUTHENTICATED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "RESOURCE_EXHAUSTED"
  | "UNAVAILABLE"
  | "DEADLINE_EXCEEDED";

export interface Refusal {
  readonly ok: false;
  readonly status: RefusalStatus;
  /** CamelCase. */
  readonly reason: string;
  readonly message: string;
  /** When the same may be asked again, milliseconds from now; left out: whenever. */
  readonly comeAgainInMs?: number;
}

const STATUS = {
  InvalidObject: "INVALID_ARGUMENT",
  InvalidRequest: "INVALID_ARGUMENT",
  InvalidSelector: "INVALID_ARGUMENT",
  UnknownKind: "INVALID_ARGUMENT",
  NotApplicable: "INVALID_ARGUMENT",
  NotFound: "NOT_FOUND",
  Conflict: "ABORTED",
  InUse: "FAILED_PRECONDITION",
  NotRevoked: "FAILED_PRECONDITION",
  TooManyNodeSets: "FAILED_PRECONDITION",
  RestoredFromBackup: "FAILED_PRECONDITION",
  PlanNotPossible: "FAILED_PRECONDITION",
  NotPlanned: "FAILED_PRECONDITION",
  NodeNameTaken: "FAILED_PRECONDITION",
  NotInCluster: "FAILED_PRECONDITION",
  NotCordoned: "FAILED_PRECONDITION",
  RolloutEnded: "FAILED_PRECONDITION",
  NotPaused: "FAILED_PRECONDITION",
  NothingToRetry: "FAILED_PRECONDITION",
  NoApprovalAsked: "FAILED_PRECONDITION",
  CountDiffers: "FAILED_PRECONDITION",
  NoKubeconfig: "FAILED_PRECONDITION",
  SecretKeyMismatch: "FAILED_PRECONDITION",
  ClusterDiffers: "FAILED_PRECONDITION",
  ClusterRefused: "FAILED_PRECONDITION",
  ClusterUnreachable: "UNAVAILABLE",
  InvalidKubeconfig: "INVALID_ARGUMENT",
  Compacted: "OUT_OF_RANGE",
  NoCertificate: "UNAUTHENTICATED",
  UnknownPeer: "UNAUTHENTICATED",
  Revoked: "PERMISSION_DENIED",
  RoleTooLow: "PERMISSION_DENIED",
  NotAnOperator: "PERMISSION_DENIED",
  NotANode: "PERMISSION_DENIED",
  CloneSuspected: "PERMISSION_DENIED",
  HelloExpected: "INVALID_ARGUMENT",
  MessageTooLarge: "RESOURCE_EXHAUSTED",
  Busy: "RESOURCE_EXHAUSTED",
  RateLimited: "RESOURCE_EXHAUSTED",
  SlowReader: "RESOURCE_EXHAUSTED",
  Stopping: "UNAVAILABLE",
  NotReady: "UNAVAILABLE",
  Unreachable: "UNAVAILABLE",
  TimedOut: "DEADLINE_EXCEEDED",
} as const satisfies Readonly<Record<string, RefusalStatus>>;

export type RefusalReason = keyof typeof STATUS;

export function refuse(reason: RefusalReason, message: string): Refusal {
  return { ok: false, status: STATUS[reason], reason, message };
}

/** A refusal that ends a stream or a call. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}
