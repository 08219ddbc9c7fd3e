/** The agent's own sessions at the coordinator's own door: TLS is resumed, and who is turned away learns when to come again. */
import "reflect-metadata";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { seededRandom, silentLog, systemClock } from "@drover/lifecycle";
import { ConverseRequest, ConverseResponse, NodeCredential } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ComeAgain } from "../../agent/src/ports.ts";
import { GrpcSessions } from "../../agent/src/session/grpc-sessions.ts";
import { identityOf, makeNodeKeys, type NodeIdentity } from "../../agent/src/session/identity.ts";
import { makeSigningRequest } from "../../agent/src/session/signing-request.ts";
import { type EnrolmentFixture, enrolmentFixture, Machine } from "../../coordinator/src/identity/enrolment-fixture.ts";
import { Peers } from "../../coordinator/src/identity/peers.ts";
import { type FollowedCatalog, followedCatalog } from "../../coordinator/src/resources/catalog-fixture.ts";
import { ConnectionShares } from "../../coordinator/src/rpc/connection-shares.ts";
import { FrontDoor } from "../../coordinator/src/rpc/front-door.ts";
import { Gate } from "../../coordinator/src/rpc/gate.ts";
import { limitedNodeSessionService, nodeSessionService } from "../../coordinator/src/rpc/node-session-service.ts";
import { openServerIdentity, type ServerIdentity } from "../../coordinator/src/rpc/server-credentials.ts";

const hello = ConverseRequest.fromPartial({ body: { $case: "hello", value: { agentVersion: "0.1.0" } } });
const never = new AbortController().signal;

describe("a node's sessions", () => {
  let fixture: EnrolmentFixture<typeof systemClock>;
  let followed: FollowedCatalog;
  let tls: ServerIdentity;
  let gate: Gate;
  let server: Server;
  let door: FrontDoor;
  let port: number;

  beforeEach(async () => {
    fixture = await enrolmentFixture({ clock: systemClock });
    tls = await openServerIdentity({ authority: fixture.authority, hosts: ["127.0.0.1"], clock: systemClock, log: silentLog });
  });
  afterEach(async () => {
    door.destroy();
    server.forceShutdown();
    gate.close();
    await followed[Symbol.asyncDispose]();
    await fixture[Symbol.asyncDispose]();
  });

  async function open(nodes: number): Promise<void> {
    followed = await followedCatalog(fixture.store);
    const peers = new Peers({ ...fixture, catalog: followed.catalog });
    const parts = { clock: systemClock, log: silentLog };
    gate = new Gate({ peers, store: fixture.store, random: seededRandom(1), ...parts });
    server = new Server();
    const converse = async function* () {
      yield ConverseResponse.fromPartial({ body: { $case: "welcome", value: { nowMs: 1 } } });
      await Promise.resolve();
    };
    server.addService(limitedNodeSessionService, nodeSessionService({ gate, converse, live: gate.live, ...parts }));
    door = new FrontDoor({
      address: { host: "127.0.0.1", port: 0 },
      tls,
      injector: server.createConnectionInjector(ServerCredentials.createInsecure()),
      shares: new ConnectionShares({ nodes, operators: 10 }, systemClock),
      limits: { strangers: 100, handshakeMs: 10_000 },
      ...parts,
    });
    gate.turnAway((peer) => door.isTurnedAway(peer));
    port = await door.listen();
  }

  async function enrolled(): Promise<() => NodeIdentity> {
    const machine = new Machine();
    const keys = makeNodeKeys();
    const csr = await makeSigningRequest(keys.privateKeyPem);
    const request = { ...(await machine.enrollRequest(await fixture.token())), csr };
    const answer = await fixture.enrolment.enroll(request, "127.0.0.1");
    if (!answer.ok) throw new Error(answer.message);
    return () =>
      identityOf(answer.nodeId, keys, NodeCredential.fromPartial({ ...answer.credential, sessionEndpoint: `127.0.0.1:${port}` }));
  }

  async function converse(sessions: GrpcSessions): Promise<void> {
    const conversation = await sessions.open(never);
    await conversation.send(hello);
    for await (const _ of conversation.received()) conversation.close();
  }

  it("resume the TLS session of the one before, until the coordinator's certificate is another", async () => {
    const current = await enrolled();
    await open(10);
    const sessions = new GrpcSessions(systemClock, { current: current(), onRotated: () => undefined });
    for (let session = 0; session < 4; session += 1) await converse(sessions);
    expect(door.counts).toMatchObject({ handshakes: 4, resumed: 3 });
    await tls.reissue();
    for (let session = 0; session < 2; session += 1) await converse(sessions);
    expect(door.counts).toMatchObject({ handshakes: 6, resumed: 4 });
  });

  it("end with the slot that they are given when there is no room", async () => {
    const [first, second] = [await enrolled(), await enrolled()];
    await open(1);
    const held = await new GrpcSessions(systemClock, { current: first(), onRotated: () => undefined }).open(never);
    const refused = await converse(new GrpcSessions(systemClock, { current: second(), onRotated: () => undefined })).catch(
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(ComeAgain);
    expect((refused as ComeAgain).inMs).toBeGreaterThanOrEqual(2_000);
    held.close();
    for await (const _ of held.received());
  });
});
