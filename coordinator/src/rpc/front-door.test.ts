import "reflect-metadata";
import { once } from "node:events";
import { connect as tcpConnect, type Socket } from "node:net";
import { type Client, credentials, Metadata, Server, ServerCredentials, type ServiceError, status } from "@grpc/grpc-js";
import { seededRandom, silentLog, systemClock, VirtualClock } from "@drover/lifecycle";
import { ConverseResponse, NodeSessionClient } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pemOf } from "../identity/authority.ts";
import { type EnrolmentFixture, enrolmentFixture, Machine, MachineKey } from "../identity/enrolment-fixture.ts";
import { createOperator } from "../identity/operators.ts";
import { Peers } from "../identity/peers.ts";
import { type FollowedCatalog, followedCatalog } from "../resources/catalog-fixture.ts";
import { ConnectionShares } from "./connection-shares.ts";
import { FairQueue } from "./fair-queue.ts";
import { FrontDoor } from "./front-door.ts";
import { Gate } from "./gate.ts";
import { limitedNodeSessionService, nodeSessionService } from "./node-session-service.ts";
import { openServerIdentity, type ServerIdentity } from "./server-credentials.ts";
import { Slots } from "./slots.ts";
import { COME_AGAIN_METADATA, REASON_METADATA } from "./status.ts";

interface Credential {
  readonly key: string;
  readonly chain: string;
}

function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => (socket.destroyed ? resolve() : socket.once("close", () => resolve())));
}

describe("the front door, on real sockets", () => {
  let fixture: EnrolmentFixture<typeof systemClock>;
  let identity: ServerIdentity;
  let followed: FollowedCatalog;
  let peers: Peers;
  let gate: Gate;
  let server: Server;
  let door: FrontDoor;
  let clock: VirtualClock;
  let port: number;
  const clients: Client[] = [];
  const sockets: Socket[] = [];

  beforeEach(async () => {
    fixture = await enrolmentFixture({ clock: systemClock });
    identity = await openServerIdentity({ authority: fixture.authority, hosts: ["127.0.0.1"], clock: systemClock, log: silentLog });
    followed = await followedCatalog(fixture.store);
    peers = new Peers({ ...fixture, catalog: followed.catalog });
    clock = new VirtualClock();
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    for (const socket of sockets.splice(0)) socket.destroy();
    door.destroy();
    server.forceShutdown();
    gate.close();
    await followed[Symbol.asyncDispose]();
    await fixture[Symbol.asyncDispose]();
  });

  /** Each conversation is greeted, and stays open until the node ends it. */
  async function open(limits: { nodes?: number; operators?: number; strangers?: number } = {}): Promise<void> {
    gate = new Gate({ peers, store: fixture.store, clock: systemClock, random: seededRandom(1), log: silentLog });
    server = new Server();
    const converse = async function* (_peer: unknown, inbound: AsyncIterable<unknown>) {
      yield ConverseResponse.fromPartial({ body: { $case: "welcome", value: { nowMs: 1 } } });
      for await (const _ of inbound);
    };
    server.addService(
      limitedNodeSessionService,
      nodeSessionService({ gate, converse, live: gate.live, clock: systemClock, log: silentLog }),
    );
    door = new FrontDoor({
      address: { host: "127.0.0.1", port: 0 },
      tls: identity,
      injector: server.createConnectionInjector(ServerCredentials.createInsecure()),
      shares: new ConnectionShares({ nodes: limits.nodes ?? 100, operators: limits.operators ?? 10 }, systemClock),
      limits: { strangers: limits.strangers ?? 100, handshakeMs: 10_000 },
      clock,
      log: silentLog,
    });
    gate.turnAway((peer) => door.isTurnedAway(peer));
    port = await door.listen();
  }

  async function node(): Promise<Credential> {
    const machine = new Machine();
    const enrolled = await fixture.enrolment.enroll(await machine.enrollRequest(await fixture.token()), "127.0.0.1");
    if (!enrolled.ok) throw new Error(enrolled.message);
    return { key: machine.key.privateKeyPem, chain: pemOf(enrolled.credential.certificateChain) };
  }

  async function operator(name: string): Promise<Credential> {
    const { publicKey, privateKeyPem } = new MachineKey();
    const made = await createOperator({ ...fixture }, { name, role: "viewer", publicKey, actor: "test" });
    if (!made.ok) throw new Error(made.message);
    return { key: privateKeyPem, chain: pemOf(made.leaf.chain) };
  }

  /** @returns "welcome", or the error; the connection stays */
  async function converse({ key, chain }: Credential): Promise<"welcome" | ServiceError> {
    const tls = credentials.createSsl(Buffer.from(fixture.authority.bundlePem), Buffer.from(key), Buffer.from(chain));
    const client = new NodeSessionClient(`127.0.0.1:${port}`, tls, { "grpc.use_local_subchannel_pool": 1 });
    clients.push(client);
    const call = client.converse(new Metadata());
    return new Promise((resolve) => call.on("error", resolve).once("data", () => resolve("welcome")));
  }

  async function mute(): Promise<Socket> {
    const socket = tcpConnect(port, "127.0.0.1");
    sockets.push(socket.on("error", () => undefined));
    await once(socket, "connect");
    return socket;
  }

  it("a handshake that is not done in time is closed at its deadline, whatever was said before", async () => {
    await open();
    const silent = await mute();
    const slow = await mute();
    slow.write(Buffer.of(22, 3, 1));
    const closed = Promise.all([closing(silent), closing(slow)]);
    await expect.poll(() => door.strangers).toBe(2);
    await clock.advance(9_500);
    expect(door.strangers).toBe(2);
    await clock.advance(1_000);
    await closed;
    expect(door.counts).toMatchObject({ accepted: 2, handshakes: 0, tooSlow: 2 });
  });

  it("with the room before the handshake full, newcomers are closed; who was in it too long makes room", async () => {
    const web = await node();
    await open({ strangers: 3 });
    const crowd = [await mute(), await mute(), await mute()];
    await expect.poll(() => door.strangers).toBe(3);
    const newcomer = tcpConnect(port, "127.0.0.1").on("error", () => undefined);
    sockets.push(newcomer);
    await closing(newcomer);
    expect(door.counts).toMatchObject({ refusedFull: 1 });
    const closed = closing(crowd[0]!);
    await clock.advance(3_000);
    expect(await converse(web)).toBe("welcome");
    await closed;
    expect(door.counts).toMatchObject({ tooSlow: 1, handshakes: 1 });
  });

  it("nodes beyond their share are told when to come again, each later than the one before; operators have a share of their own", async () => {
    const nodes = await Promise.all(Array.from({ length: 5 }, () => node()));
    const ann = await operator("ann");
    await open({ nodes: 3 });
    for (const each of nodes.slice(0, 3)) expect(await converse(each)).toBe("welcome");
    const refused = [await converse(nodes[3]!), await converse(nodes[4]!)] as ServiceError[];
    expect(refused.map(({ code }) => code)).toEqual([status.RESOURCE_EXHAUSTED, status.RESOURCE_EXHAUSTED]);
    expect(refused.map(({ metadata }) => metadata.get(REASON_METADATA))).toEqual([["Busy"], ["Busy"]]);
    const slots = refused.map(({ metadata }) => Number(metadata.get(COME_AGAIN_METADATA)[0]));
    expect(slots[0]).toBeGreaterThanOrEqual(2_000);
    expect(slots[1]! + 20).toBeGreaterThanOrEqual(slots[0]!);
    // Admitted: what answers is the gate, by whom the certificate names.
    expect(await converse(ann)).toMatchObject({ code: status.PERMISSION_DENIED });
    expect(door.counts).toMatchObject({ turnedAway: 2, closed: 0 });
  });

  it("a flood by one identity stays within its own number and rate, and others get in", async () => {
    const [flooder, other] = [await node(), await node()];
    await open();
    const flood = await Promise.all(Array.from({ length: 40 }, () => converse(flooder)));
    const welcomed = flood.filter((each) => each === "welcome").length;
    expect(welcomed).toBeGreaterThan(0);
    expect(welcomed).toBeLessThanOrEqual(8);
    expect(door.counts.closed).toBeGreaterThan(0);
    expect(await converse(other)).toBe("welcome");
  });

  it("a strange certificate, and none, do not get past the handshake", async () => {
    await open();
    const stranger = await enrolmentFixture({ clock: systemClock });
    const key = new MachineKey();
    const leaf = await stranger.authority.issueNode("aaaaaaaaaa", key.publicKey);
    expect(await converse({ key: key.privateKeyPem, chain: pemOf(leaf.chain) })).toMatchObject({ code: status.UNAVAILABLE });
    await expect.poll(() => door.counts.failedHandshakes).toBeGreaterThan(0);
    expect(door.counts.handshakes).toBe(0);
    await stranger[Symbol.asyncDispose]();
  });
});

it("addresses have their turn one after the other, known operators before all", () => {
  const queue = new FairQueue<string>();
  for (const each of ["a1", "a2", "a3", "b1", "c1", "c2"]) queue.push(each[0]!, each, false);
  queue.push("b", "operator", true);
  const order = Array.from({ length: 8 }, () => queue.next());
  expect(order).toEqual(["operator", "a1", "b1", "c1", "a2", "c2", "a3", undefined]);
});

it("slots follow each other at the rate that can be taken, and begin anew when time has passed", async () => {
  const clock = new VirtualClock();
  const slots = new Slots(clock, 50);
  expect([slots.next(), slots.next(), slots.next()]).toEqual([2_000, 2_020, 2_040]);
  await clock.advance(60_000);
  expect(slots.next()).toBe(2_000);
});
