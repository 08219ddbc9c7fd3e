/** The reasons for which identity says no, and the gRPC status of each. */
import type { RefusalStatus } from "../refusal.ts";

export type RefusalReason =
  | "TokenInvalid"
  | "TokenExpired"
  | "TokenUsed"
  | "InvalidRequest"
  | "InvalidCsr"
  | "InvalidNatsKey"
  | "NatsKeyInUse"
  | "InvalidCertificate"
  | "NotANode"
  | "UnknownNode"
  | "Revoked"
  | "CloneSuspected"
  | "CertificateNotExpired"
  | "CertificateTooOld"
  | "CertificateSuperseded"
  | "AlreadyRecovered"
  | "ClockNotCredible"
  | "InvalidProof"
  | "RateLimited"
  | "Conflict";

export interface Refusal {
  readonly ok: false;
  readonly status: RefusalStatus;
  readonly reason: RefusalReason;
  readonly message: string;
}

const STATUS: Readonly<Record<RefusalReason, RefusalStatus>> = {
  TokenInvalid: "UNAUTHENTICATED",
  TokenExpired: "UNAUTHENTICATED",
  TokenUsed: "UNAUTHENTICATED",
  InvalidRequest: "INVALID_ARGUMENT",
  InvalidCsr: "INVALID_ARGUMENT",
  InvalidNatsKey: "INVALID_ARGUMENT",
  NatsKeyInUse: "PERMISSION_DENIED",
  InvalidCertificate: "UNAUTHENTICATED",
  NotANode: "PERMISSION_DENIED",
  UnknownNode: "UNAUTHENTICATED",
  Revoked: "PERMISSION_DENIED",
  CloneSuspected: "PERMISSION_DENIED",
  CertificateNotExpired: "FAILED_PRECONDITION",
  CertificateTooOld: "FAILED_PRECONDITION",
  CertificateSuperseded: "PERMISSION_DENIED",
  AlreadyRecovered: "PERMISSION_DENIED",
  ClockNotCredible: "FAILED_PRECONDITION",
  InvalidProof: "UNAUTHENTICATED",
  RateLimited: "RESOURCE_EXHAUSTED",
  Conflict: "ABORTED",
};

export function refuse(reason: RefusalReason, message: string): Refusal {
  return { ok: false, status: STATUS[reason], reason, message };
}
