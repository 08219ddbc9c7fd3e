/**
 * A coordinator in the hands of somebody else: it holds the site's CA, so every agent believes it is the coordinator.
 * Sends the plans of a file to the first agent that converses, one after the other on one session, and prints what the agent said.
 * `node coordinator-stand-in.ts AUTHORITY_DIRECTORY HOST PORT PLANS_FILE`; plans: a JSON list of base64.
 */
import "reflect-metadata";
import { generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { systemClock } from "@drover/lifecycle";
import { type ConverseRequest, type ConverseResponse, NodeSessionService } from "@drover/proto";
import { openAuthority, pemOf } from "../../../coordinator/src/identity/authority.ts";

const [authorityDirectory = "", host = "", port = "", plansFile = ""] = process.argv.slice(2);
const plans = (JSON.parse(await readFile(plansFile, "utf8")) as string[]).map((plan) => Buffer.from(plan, "base64"));
const authority = await openAuthority(authorityDirectory, systemClock);
const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
const leaf = await authority.issueServer([host], keys.publicKey);
const identity = {
  cert_chain: Buffer.from(pemOf(leaf.chain)),
  private_key: Buffer.from(keys.privateKey.export({ type: "pkcs8", format: "pem" })),
};

const server = new Server();
server.addService(NodeSessionService, { converse });
await new Promise<void>((resolve, reject) => {
  const credentials = ServerCredentials.createSsl(Buffer.from(authority.bundlePem), [identity], true);
  server.bindAsync(`${host}:${port}`, credentials, (error) => (error === null ? resolve() : reject(error)));
});

let isTaken = false;

/** Whoever comes after the first is turned away: all plans go over one session, in their order. */
function converse(stream: ServerDuplexStream<ConverseRequest, ConverseResponse>): void {
  if (isTaken) {
    stream.end();
    return;
  }
  isTaken = true;
  const left = [...plans];
  const send = (body: NonNullable<ConverseResponse["body"]>): void => void stream.write({ body });
  let isAnswered = true;
  const next = (): void => {
    const plan = left.shift();
    isAnswered = plan === undefined;
    if (plan !== undefined) send({ $case: "applyPlan", value: { signedPlan: { plan, signatures: [] } } });
  };
  stream.on("data", ({ body }: ConverseRequest) => {
    if (body?.$case === "hello") {
      send({ $case: "welcome", value: { nowMs: Date.now(), budget: undefined } });
      next();
    } else if (body?.$case === "planAnswer") {
      console.log(JSON.stringify(body.value));
      next();
    } else if (body?.$case === "idle" && isAnswered && left.length === 0) {
      stream.end();
      server.tryShutdown(() => process.exit(0));
    }
  });
  stream.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
}
