/**
 * A program of its own in the bed: many machines that claim one join token at the same time, each with keys and nonce of its own, each
 * asking again as an agent does until it has a word. Then the winner asks again, and two thieves who know half of what it knows.
 * argv: TOKEN-FILE (what `drover token create -o json` said) COUNT RESULT-FILE. Prints "claiming" when all set off, and "answered" for each that has its word.
 */
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { exponentialBackoff, sleep, systemClock, systemRandom } from "@drover/lifecycle";
import { EnrollRequest, type EnrollResponse } from "@drover/proto";
import { callEnrollment, type CallEnding, serverTls } from "../../agent/src/session/channel.ts";
import { identityOf, makeNodeKeys, type NodeKeys } from "../../agent/src/session/identity.ts";
import { findPinnedCa } from "../../agent/src/session/pin.ts";
import { makeSigningRequest } from "../../agent/src/session/signing-request.ts";
import type { JoinToken } from "./coordinator-kill-count.ts";
import type { ClaimEnding, ClaimResults } from "./join-token.ts";

/** Until a coordinator that was killed is back and has answered everybody. */
const ALL_CLAIMS_MS = 600_000;

const [tokenFile = "", count = "0", resultFile = ""] = process.argv.slice(2);
const token = JSON.parse(await readFile(tokenFile, "utf8")) as JoinToken;
const signal = AbortSignal.timeout(ALL_CLAIMS_MS);

interface Claimant {
  readonly keys: NodeKeys;
  readonly request: EnrollRequest;
}

async function claimant(name: string, keys: NodeKeys = makeNodeKeys(), nonce: Buffer = randomBytes(16)): Promise<Claimant> {
  const csr = await makeSigningRequest(keys.privateKeyPem);
  const { joinToken } = token;
  return { keys, request: EnrollRequest.fromPartial({ joinToken, csr, natsPublicKey: keys.natsPublicKey, nonce, name }) };
}

async function claim({ keys, request }: Claimant): Promise<ClaimEnding> {
  const backoff = exponentialBackoff(systemRandom, { baseMs: 200, maxMs: 2000 });
  const waitedFor: string[] = [];
  for (;;) {
    const ending = await ask(request);
    if (ending.kind === "answered") {
      // As the agent does: an answer counts when it is whole and for our key.
      identityOf(ending.answer.nodeId, keys, ending.answer.credential);
      return { kind: "won", nodeId: ending.answer.nodeId, waitedFor };
    }
    if (ending.kind === "refused") return { kind: "refused", reason: ending.reason, waitedFor };
    waitedFor.push(ending.reason);
    await sleep(systemClock, backoff.nextDelayMs(), signal);
  }
}

function ask(request: EnrollRequest): Promise<CallEnding<EnrollResponse>> {
  return callEnrollment<EnrollResponse>(
    { clock: systemClock, endpoint: token.endpoint, credentials: serverTls(caPem) },
    (client, metadata, done) => client.enroll(request, metadata, done),
    signal,
  );
}

const ca = await findPinnedCa(systemClock, token.endpoint, token.caPin, signal);
if (ca.kind !== "trusted") throw new Error(`the coordinator's CA is ${ca.kind}`);
const { caPem } = ca;
const claimants = await Promise.all(Array.from({ length: Number(count) }, (_, index) => claimant(`claim-${index + 1}`)));
console.log("claiming");
const settled = await Promise.allSettled(claimants.map((one) => claim(one).finally(() => console.log("answered"))));
const claims = settled.map(
  (one): ClaimEnding => (one.status === "fulfilled" ? one.value : { kind: "failed", message: String(one.reason) }),
);
const winner = claimants[claims.findIndex(({ kind }) => kind === "won")];
const results: ClaimResults = { claims, ...(winner === undefined ? {} : { afterwards: await afterwards(winner) }) };
await writeFile(resultFile, JSON.stringify(results));

async function afterwards(winner: Claimant): Promise<NonNullable<ClaimResults["afterwards"]>> {
  const again = await claim(winner);
  const otherKey = await claim(await claimant("thief-of-nonce", makeNodeKeys(), winner.request.nonce));
  const otherNonce = await claim(await claimant("thief-of-key", winner.keys));
  return { again, otherKey, otherNonce };
}
