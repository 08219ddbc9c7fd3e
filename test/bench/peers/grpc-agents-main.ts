/** Who calls: unary check-ins of all nodes over a few mTLS connections that stay open, which costs the server less than a connection each would. */
import { readFileSync } from "node:fs";
import { Client, credentials } from "@grpc/grpc-js";
import { callInTurn } from "./pace.ts";
import { peerReady, peerSettings } from "./peer-process.ts";

const CONNECTIONS = 64;

const { agents, intervalMs, bytes, port, tls } = peerSettings();
if (tls === undefined) throw new Error("it speaks mTLS only");
const [key, certificate] = [readFileSync(tls.keyFile), readFileSync(tls.certFile)];
const options = { "grpc.use_local_subchannel_pool": 1 };
const clients = Array.from(
  { length: CONNECTIONS },
  () => new Client(`127.0.0.1:${port}`, credentials.createSsl(certificate, key, certificate), options),
);
const requests = Array.from({ length: agents }, (_, agent) => Buffer.from(`node-${agent}`.padEnd(bytes, " ")));
const same = (message: Buffer): Buffer => message;
const counts = callInTurn(agents, intervalMs, (agent, done) => {
  clients[agent % CONNECTIONS]!.makeUnaryRequest("/peer.CheckIn/CheckIn", same, same, requests[agent]!, done);
});
peerReady(0, () => counts);
