import { once } from "node:events";
import { seededRandom, silentLog, systemClock } from "@drover/lifecycle";
import { ConverseRequest, ConverseResponse } from "@drover/proto";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { MemoryStateDirectory } from "../state/index.ts";
import { CredentialRotation } from "./credential-rotation.ts";
import { FakeCoordinator } from "./fake-coordinator.ts";
import { GrpcSessions } from "./grpc-sessions.ts";
import { identityOf, IdentityStore, makeNodeKeys, type NodeIdentity } from "./identity.ts";
import { renewOnce } from "./renew.ts";
import { makeSigningRequest } from "./signing-request.ts";

const never = new AbortController().signal;
const hello = ConverseRequest.fromPartial({ body: { $case: "hello", value: { agentVersion: "0.1.0" } } });
const welcome = ConverseResponse.fromPartial({ body: { $case: "welcome", value: { nowMs: 1 } } });

let coordinator: FakeCoordinator;
let identity: NodeIdentity;
let credentials: CredentialRotation;

beforeAll(async () => {
  coordinator = await FakeCoordinator.start();
  const keys = makeNodeKeys();
  identity = identityOf("abcdefgh22", keys, await coordinator.credentialFor(await makeSigningRequest(keys.privateKeyPem), 0));
});
afterAll(() => coordinator.stop());
beforeEach(() => {
  credentials = rotationFrom(identity);
});

function rotationFrom(from: NodeIdentity): CredentialRotation {
  const store = new IdentityStore(new MemoryStateDirectory());
  const parts = {
    clock: systemClock,
    random: seededRandom(1),
    log: silentLog,
    store,
    endpoint: coordinator.enrolmentEndpoint,
    tell: () => {},
  };
  return new CredentialRotation(parts, from);
}

describe("a conversation", () => {
  test("carries messages both ways and ends when the coordinator ends it", async () => {
    const received: ConverseRequest[] = [];
    coordinator.converse = (call) => {
      call.on("data", (message: ConverseRequest) => {
        received.push(message);
        call.write(welcome);
      });
      call.on("end", () => call.end());
    };
    const conversation = await new GrpcSessions(systemClock, credentials).open(never);
    await conversation.send(hello);
    const answers: ConverseResponse[] = [];
    for await (const answer of conversation.received()) {
      answers.push(answer);
      conversation.close();
    }
    expect(received).toEqual([hello]);
    expect(answers).toEqual([welcome]);
  });

  test("presents the certificate that is current at that moment", async () => {
    const keys: string[] = [];
    coordinator.converse = (call) => {
      const peer = call.getAuthContext().sslPeerCertificate;
      keys.push(peer?.fingerprint256 ?? "none");
      call.end();
    };
    const sources = { current: identity, onRotated: () => {} };
    const sessions = new GrpcSessions(systemClock, sources);
    const converse = async (): Promise<void> => {
      const conversation = await sessions.open(never);
      for await (const _ of conversation.received());
    };
    await converse();
    const store = new IdentityStore(new MemoryStateDirectory());
    const ending = await renewOnce({ clock: systemClock, store, endpoint: "" }, identity, never);
    sources.current = ending.kind === "renewed" ? ending.identity : identity;
    await converse();
    expect(keys).toHaveLength(2);
    expect(keys[0]).not.toBe(keys[1]);
  });

  test("breaks with an error for whoever reads or sends", async () => {
    coordinator.converse = (call) => call.emit("error", { code: status.PERMISSION_DENIED, details: "Revoked" });
    const conversation = await new GrpcSessions(systemClock, credentials).open(never);
    const reading = (async () => {
      for await (const _ of conversation.received());
    })();
    await expect(reading).rejects.toThrow("Revoked");
    await expect(conversation.send(hello)).rejects.toThrow("Revoked");
  });

  test("is cut by the signal it was opened with", async () => {
    const cancelled = new Promise<void>((resolve) => {
      coordinator.converse = (call) => call.on("cancelled", resolve).resume();
    });
    const stop = new AbortController();
    const conversation = await new GrpcSessions(systemClock, credentials).open(stop.signal);
    await conversation.send(hello);
    stop.abort(new Error("stop"));
    await expect(conversation.send(hello)).rejects.toThrow();
    await cancelled;
  });

  test("holds a sender back while the coordinator does not read", async () => {
    let resume = (): void => {};
    coordinator.converse = (call) => {
      call.pause();
      resume = () => call.resume().on("end", () => call.end());
    };
    const conversation = await new GrpcSessions(systemClock, credentials).open(never);
    const chunk = ConverseRequest.fromPartial({ body: { $case: "logChunk", value: { requestId: "1", chunk: Buffer.alloc(32 * 1024) } } });
    let sent = 0;
    const sending = (async () => {
      for (; sent < 200; sent += 1) await conversation.send(chunk);
    })();
    let before = -1;
    while (before !== sent) {
      before = sent;
      await Promise.race([sending, once(AbortSignal.timeout(150), "abort")]);
    }
    expect(sent).toBeLessThan(100);
    resume();
    await sending;
    conversation.close();
    for await (const _ of conversation.received());
    expect(sent).toBe(200);
  });
});

test("opening fails with the reason when nobody listens, and with ours when we abort", async () => {
  const nowhere = { ...identity, credential: { ...identity.credential, sessionEndpoint: "127.0.0.1:1" } };
  const sessions = new GrpcSessions(systemClock, rotationFrom(nowhere));
  await expect(sessions.open(never)).rejects.toThrow("ECONNREFUSED");
  await expect(sessions.open(AbortSignal.abort(new Error("stop")))).rejects.toThrow("stop");
});
