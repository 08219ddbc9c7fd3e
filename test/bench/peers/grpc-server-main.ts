/** The peer that is called: a unary check-in over mTLS that only notes who was there. */
import { readFileSync } from "node:fs";
import { Server, ServerCredentials, type handleUnaryCall } from "@grpc/grpc-js";
import { peerReady, peerSettings } from "./peer-process.ts";

const { tls } = peerSettings();
if (tls === undefined) throw new Error("it speaks mTLS only");
const [key, certificate] = [readFileSync(tls.keyFile), readFileSync(tls.certFile)];
const lastSeenMs = new Map<string, number>();
let taken = 0;
const same = (message: Buffer): Buffer => message;
const nothing = Buffer.alloc(0);
const checkIn: handleUnaryCall<Buffer, Buffer> = (call, answer) => {
  lastSeenMs.set(call.request.toString("latin1"), performance.now());
  taken += 1;
  answer(null, nothing);
};

const server = new Server();
const method = { path: "/peer.CheckIn/CheckIn", requestStream: false, responseStream: false } as const;
server.addService(
  { checkIn: { ...method, requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same } },
  { checkIn },
);
server.bindAsync(
  "127.0.0.1:0",
  ServerCredentials.createSsl(certificate, [{ private_key: key, cert_chain: certificate }], true),
  (error, port) => {
    if (error !== null) throw error;
    peerReady(port, () => ({ done: taken }));
  },
);
