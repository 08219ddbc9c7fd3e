/** Enrollment over gRPC: Enroll and Recover where clients have no valid certificate, Renew where they must. Decisions are identity/enrolment.ts'. */
import { type handleUnaryCall, type sendUnaryData, type ServerUnaryCall, status, type StatusObject } from "@grpc/grpc-js";
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
import { grpcErrorOf, grpcRefusal } from "./status.ts";

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

function peerOf(peers: Peers, call: Pick<ServerUnaryCall<unknown, unknown>, "getAuthContext">): Identification {
  return peers.identifyPeer(call.getAuthContext().sslPeerCertificate?.raw);
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
  try {
    const answer = await answering;
    if (answer.ok) callback(null, { nodeId: answer.nodeId, credential: answer.credential });
    else callback(grpcRefusal(answer));
  } catch (error) {
    callback(grpcErrorOf(error, log));
  }
}

function elsewhere(details: string): (call: unknown, callback: (error: Partial<StatusObject>) => void) => void {
  return (_call, callback) => callback({ code: status.UNIMPLEMENTED, details });
}

function addressOf(call: ServerUnaryCall<unknown, unknown>): string {
  // "10.0.0.7:41234" or "[::1]:41234" without its port, which says nothing.
  return call.getPeer().replace(/:\d+$/, "");
}
