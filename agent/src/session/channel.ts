/** How the agent speaks gRPC: channel settings, and the endings of a call as data. */
import { type Clock, DeadlineExceeded, withDeadline } from "@drover/lifecycle";
import { EnrollmentClient } from "@drover/proto";
import {
  type ChannelCredentials,
  type ChannelOptions,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { ComeAgain } from "../ports.ts";
import { caBundlePem, certificateChainPem, type NodeIdentity } from "./identity.ts";
import { ResumingCredentials } from "./resuming-credentials.ts";

export const CALL_TIMEOUT_MS = 20_000;

export const channelOptions: ChannelOptions = {
  // A rotated credential must not find the old connection in a pool.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.max_receive_message_length": 4 * 1024 * 1024,
};

export function serverTls(caPem: string): ChannelCredentials {
  return credentials.createSsl(Buffer.from(caPem));
}

export function mutualTls(identity: NodeIdentity): ChannelCredentials {
  return new ResumingCredentials({
    ca: caBundlePem(identity.credential),
    key: identity.keys.privateKeyPem.reveal(),
    cert: certificateChainPem(identity.credential),
  });
}

/** @returns what says when to come again, where the coordinator said so; else the error itself */
export function told(error: Error): Error {
  const { metadata } = error as Partial<ServiceError>;
  const [slot] = metadata?.get(COME_AGAIN_METADATA) ?? [];
  const inMs = typeof slot === "string" && /^\d{1,9}$/.test(slot) ? Number(slot) : undefined;
  return inMs === undefined ? error : new ComeAgain(error.message, inMs);
}

export type CallEnding<T> =
  | { readonly kind: "answered"; readonly answer: T }
  /** The coordinator said no; the same again will get the same answer. */
  | { readonly kind: "refused"; readonly reason: string; readonly message: string }
  /** Nobody knows; to be tried again. */
  | { readonly kind: "unreachable"; readonly reason: string; readonly message: string };

/** Where the coordinator says why, in one word. */
const REASON_METADATA = "drover-reason";
/** When a node that was turned away may come again, milliseconds from now. */
const COME_AGAIN_METADATA = "drover-come-again-ms";

const REFUSALS: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.PERMISSION_DENIED,
  status.FAILED_PRECONDITION,
  status.UNIMPLEMENTED,
  status.UNAUTHENTICATED,
]);

/** One unary call on a channel of its own, ended after CALL_TIMEOUT_MS. @throws only the signal's reason */
export async function callEnrollment<T>(
  parts: { readonly clock: Clock; readonly endpoint: string; readonly credentials: ChannelCredentials },
  start: (client: EnrollmentClient, metadata: Metadata, done: (error: ServiceError | null, answer: T) => void) => ClientUnaryCall,
  signal: AbortSignal,
): Promise<CallEnding<T>> {
  const client = new EnrollmentClient(parts.endpoint, parts.credentials, channelOptions);
  try {
    return await withDeadline(parts.clock, "call to the coordinator", CALL_TIMEOUT_MS, signal, (inner) => {
      return new Promise<CallEnding<T>>((resolve) => {
        const call = start(client, new Metadata({ waitForReady: false }), (error, answer) => {
          resolve(error === null ? { kind: "answered", answer } : endingOf(error));
        });
        inner.addEventListener("abort", () => call.cancel(), { once: true });
      });
    });
  } catch (error) {
    if (error instanceof DeadlineExceeded) return { kind: "unreachable", reason: "DeadlineExceeded", message: error.message };
    throw error;
  } finally {
    client.close();
  }
}

function endingOf(error: ServiceError): CallEnding<never> {
  const [told] = error.metadata.get(REASON_METADATA);
  const reason = typeof told === "string" ? told : statusName(error.code);
  return { kind: REFUSALS.has(error.code) ? "refused" : "unreachable", reason, message: error.details };
}

/** "PermissionDenied" of 7. */
export function statusName(code: number): string {
  const name = status[code] ?? "UNKNOWN";
  return name
    .toLowerCase()
    .split("_")
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join("");
}
