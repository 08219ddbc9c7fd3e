/** etcd's agents: KV.Put of a beat per node over a few connections, which costs etcd less than a connection each would. */
import { Client, credentials } from "@grpc/grpc-js";
import { callInTurn } from "./pace.ts";
import { peerReady, peerSettings } from "./peer-process.ts";

const CONNECTIONS = 8;

const { agents, intervalMs, bytes, port } = peerSettings();
const options = { "grpc.use_local_subchannel_pool": 1 };
const clients = Array.from({ length: CONNECTIONS }, () => new Client(`127.0.0.1:${port}`, credentials.createInsecure(), options));
const beat = Buffer.alloc(bytes, 7);
const puts = Array.from({ length: agents }, (_, agent) => putRequest(Buffer.from(`/drover/hb/node-${agent}`), beat));
const same = (message: Buffer): Buffer => message;
const counts = callInTurn(agents, intervalMs, (agent, done) => {
  clients[agent % CONNECTIONS]!.makeUnaryRequest("/etcdserverpb.KV/Put", same, same, puts[agent]!, done);
});
peerReady(0, () => counts);

/** etcdserverpb.PutRequest: key is field 1, value field 2; both shorter than 128 bytes. */
function putRequest(key: Buffer, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x0a, key.length]), key, Buffer.from([0x12, value.length]), value]);
}
