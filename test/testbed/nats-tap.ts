/**
 * Writes down every message of a site's NATS account, as text that can be searched. A program of its own in the bed.
 * argv: the coordinator's data directory, the server's address, the file to write.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Secret } from "@drover/lifecycle";
import { NodeCredential } from "@drover/proto";
import { connectToNats } from "../../agent/src/session/nats-bus.ts";
import { openNatsTrust } from "../../coordinator/src/bus/nats-trust.ts";

const [dataDirectory = "", address = "", file = ""] = process.argv.slice(2);
const trust = join(dataDirectory, "nats-trust");
const { jwt, seed } = openNatsTrust(trust).coordinatorUser();
const credential = NodeCredential.fromPartial({
  natsUrls: [`tls://${address}:4222`],
  natsUserJwt: jwt,
  natsCaPem: readFileSync(join(trust, "nats-ca.pem"), "utf8"),
});
const keys = { privateKeyPem: new Secret(""), natsSeed: new Secret(seed), natsPublicKey: "" };
const identity = { nodeId: "tap", keys, credential, notBeforeMs: 0, notAfterMs: 0 };
const connection = await connectToNats(identity, new AbortController().signal);
const subscription = connection.subscribe(">");
await connection.flush();
appendFileSync(file, "listening\n");
for await (const message of subscription) {
  appendFileSync(file, Buffer.concat([Buffer.from(`\n${message.subject} `), message.data]));
}
