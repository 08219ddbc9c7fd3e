/** The one place where what went wrong becomes a gRPC status: "Reason: message" for people, the reason alone in the trailers for programs. */
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { DeadlineExceeded, type Log } from "@drover/lifecycle";
import { ChannelOverflow } from "../dispatch/channel.ts";
import { Refused, refuse } from "../refusal.ts";

export const REASON_METADATA = "drover-reason";
/** The slot that was given: milliseconds from now. Who comes earlier is turned away again. */
export const COME_AGAIN_METADATA = "drover-come-again-ms";

/** As identity/ and the rest of the coordinator refuse. */
export interface RefusalLike {
  readonly status: keyof typeof status;
  readonly reason: string;
  readonly message: string;
  readonly comeAgainInMs?: number;
}

export function grpcRefusal(refusal: RefusalLike): Partial<ServiceError> {
  const metadata = new Metadata();
  metadata.set(REASON_METADATA, refusal.reason);
  if (refusal.comeAgainInMs !== undefined) metadata.set(COME_AGAIN_METADATA, String(refusal.comeAgainInMs));
  return { code: status[refusal.status], details: `${refusal.reason}: ${refusal.message}`, metadata };
}

/** What was thrown, as a status; what was not expected is logged and told as Internal without its text. */
export function grpcErrorOf(error: unknown, log: Log): Partial<ServiceError> {
  if (error instanceof Refused) return grpcRefusal(error.refusal);
  if (error instanceof ChannelOverflow) return grpcRefusal(refuse("SlowReader", error.message));
  if (error instanceof DeadlineExceeded) return grpcRefusal(refuse("TimedOut", error.message));
  log.error({ err: error }, "call failed");
  return grpcRefusal({ status: "INTERNAL", reason: "Internal", message: "the coordinator failed; its log says why" });
}
