/** Enrollment over gRPC: Enroll and Recover where clients have no valid certificate, Renew where they must. Decisions are identity/enrolment.ts'. */
import {
  type handleUnaryCall,
  Metadata,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceError,
  status,
  type StatusObject,
} from "@grpc/grpc-js";
import type { Log } from "@drover/lifecycle";
import type {
  EnrollmentServer,
  EnrollRequest,
  EnrollResponse,
  RecoverRequest,
  RecoverResponse,
  RenewRequest,
  RenewResponse,
} from "@drover/proto";
import type { CredentialAnswer, Enrolment } from "../identity/enrolment.ts";
import type { Identification, Peers } from "../identity/peers.ts";
import type { Refusal } from "../identity/refusal.ts";

export const REASON_METADATA = "drover-reason";

interface ServiceDependencies {
  readonly enrolment: Enrolment;
  readonly log: Log;
}

/** For the port with server TLS only. */
export function enrolmentPortService({ enrolment, log }: ServiceDependencies): EnrollmentServer {
  return {
    enroll: unary<EnrollRequest, EnrollResponse>(log, (call) => enrolment.enroll(call.request, addressOf(call))),
    recover: unary<RecoverRequest, RecoverResponse>(log, (call) => enrolment.recover(call.request, addressOf(call))),
    renew: elsewhere("Renew is served where sessions are, over mTLS"),
  };
}

/** For the mTLS port. */
export function sessionPortEnrollmentService({ enrolment, peers, log }: ServiceDependencies & { readonly peers: Peers }): EnrollmentServer {
  return {
    enroll: elsewhere("Enroll is served on the enrolment port"),
    recover: elsewhere("Recover is served on the enrolment port"),
    renew: unary<RenewRequest, RenewResponse>(log, async (call) => {
      const identified = peerOf(peers, call);
      return identified.ok ? enrolment.renew(identified.peer, call.request) : identified;
    }),
  };
}

/** Who calls; undefined certificates are refused like foreign ones. */
export function peerOf(peers: Peers, call: Pick<ServerUnaryCall<unknown, unknown>, "getAuthContext">): Identification {
  return peers.identifyPeer(call.getAuthContext().sslPeerCertificate?.raw);
}

/** A refusal as gRPC says it: status, "reason: message", and the reason alone in the trailers for programs. */
export function grpcErrorOf(refusal: Refusal): Partial<ServiceError> {
  const metadata = new Metadata();
  metadata.set(REASON_METADATA, refusal.reason);
  return { code: status[refusal.status], details: `${refusal.reason}: ${refusal.message}`, metadata };
}

function unary<Request, Response>(
  log: Log,
  answer: (call: ServerUnaryCall<Request, Response>) => Promise<CredentialAnswer>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    void respond(log, answer(call), callback as sendUnaryData<unknown>);
  };
}

async function respond(log: Log, answering: Promise<CredentialAnswer>, callback: sendUnaryData<unknown>): Promise<void> {
  let answer: CredentialAnswer;
  try {
    answer = await answering;
  } catch (error) {
    log.error({ err: error }, "enrolment call failed");
    callback({ code: status.INTERNAL, details: "Internal: the coordinator failed; its log says why" });
    return;
  }
  if (answer.ok) callback(null, { nodeId: answer.nodeId, credential: answer.credential });
  else callback(grpcErrorOf(answer));
}

function elsewhere(details: string): (call: unknown, callback: (error: Partial<StatusObject>) => void) => void {
  return (_call, callback) => callback({ code: status.UNIMPLEMENTED, details });
}

function addressOf(call: ServerUnaryCall<unknown, unknown>): string {
  // "10.0.0.7:41234" or "[::1]:41234" without its port, which says nothing.
  return call.getPeer().replace(/:\d+$/, "");
}
