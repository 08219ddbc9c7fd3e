import "reflect-metadata";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { type Client, credentials, Metadata, Server, ServerCredentials, type ServiceError, status } from "@grpc/grpc-js";
import { silentLog, systemClock, VirtualClock } from "@drover/lifecycle";
import {
  EnrollmentClient,
  EnrollmentService,
  type EnrollRequest,
  type EnrollResponse,
  type NodeCredential,
  type RecoverRequest,
  type RecoverResponse,
  type RenewRequest,
  type RenewResponse,
} from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openAuthority, pemOf } from "../identity/authority.ts";
import { DAY_MS } from "../identity/certificate-authority.ts";
import { type EnrolmentFixture, enrolmentFixture, Machine, MachineKey } from "../identity/enrolment-fixture.ts";
import { Peers } from "../identity/peers.ts";
import { type FollowedCatalog, followedCatalog } from "../resources/catalog-fixture.ts";
import { revokeNode } from "../identity/revocation.ts";
import { ConnectionShares } from "./connection-shares.ts";
import { enrolmentPortService, sessionPortEnrollmentService } from "./enrollment-service.ts";
import { FrontDoor } from "./front-door.ts";
import { openServerIdentity, type ServerIdentity } from "./server-credentials.ts";
import { REASON_METADATA } from "./status.ts";

type Answer<R> = { readonly response: R } | { readonly error: ServiceError };

describe("Enrollment on real sockets", () => {
  let fixture: EnrolmentFixture<typeof systemClock>;
  let followed: FollowedCatalog;
  let identity: ServerIdentity;
  let identityClock: VirtualClock;
  const controllers: AbortController[] = [];
  const components: Promise<void>[] = [];
  const clients: Client[] = [];
  const servers: Server[] = [];
  const doors: FrontDoor[] = [];
  let enrolmentPort: number;
  let sessionPort: number;

  const serve = async (service: Server, isMutual: boolean): Promise<number> => {
    servers.push(service);
    const door = new FrontDoor({
      address: { host: "127.0.0.1", port: 0 },
      tls: identity,
      injector: service.createConnectionInjector(ServerCredentials.createInsecure()),
      shares: isMutual ? new ConnectionShares({ nodes: 100, operators: 100 }, systemClock) : undefined,
      limits: { strangers: 100, handshakeMs: 10_000 },
      clock: systemClock,
      log: silentLog,
    });
    doors.push(door);
    return door.listen();
  };
  const run = (component: { run(signal: AbortSignal): Promise<void> }): void => {
    const controller = new AbortController();
    controllers.push(controller);
    components.push(component.run(controller.signal));
  };

  beforeEach(async () => {
    fixture = await enrolmentFixture({ clock: systemClock });
    // Its own clock, so that a month passes for the server's certificate alone; it starts where the machine's stands.
    identityClock = new VirtualClock(Date.now());
    identity = await openServerIdentity({ authority: fixture.authority, hosts: ["127.0.0.1"], clock: identityClock, log: silentLog });
    run(identity);
    followed = await followedCatalog(fixture.store);
    const peers = new Peers({ ...fixture, catalog: followed.catalog });
    const open = new Server();
    open.addService(EnrollmentService, enrolmentPortService({ enrolment: fixture.enrolment, log: silentLog }));
    enrolmentPort = await serve(open, false);
    const mutual = new Server();
    mutual.addService(EnrollmentService, sessionPortEnrollmentService({ enrolment: fixture.enrolment, peers, log: silentLog }));
    sessionPort = await serve(mutual, true);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    for (const door of doors.splice(0)) door.destroy();
    for (const server of servers.splice(0)) server.forceShutdown();
    for (const controller of controllers.splice(0)) controller.abort();
    await Promise.all(components.splice(0));
    await followed[Symbol.asyncDispose]();
    await fixture[Symbol.asyncDispose]();
  });

  const clientOf = (port: number, key?: MachineKey, chain?: readonly Buffer[]): EnrollmentClient => {
    const roots = Buffer.from(fixture.authority.bundlePem);
    const own = key === undefined || chain === undefined ? [] : [Buffer.from(key.privateKeyPem), Buffer.from(pemOf(chain))];
    const client = new EnrollmentClient(`127.0.0.1:${port}`, credentials.createSsl(roots, own[0] ?? null, own[1] ?? null));
    clients.push(client);
    return client;
  };
  const answerOf = <R>(ask: (callback: (error: ServiceError | null, response: R) => void) => unknown): Promise<Answer<R>> =>
    new Promise((resolve) => {
      ask((error, response) => resolve(error === null ? { response } : { error }));
    });
  const within10s = (): { deadline: Date } => ({ deadline: new Date(Date.now() + 10_000) });
  const enroll = (client: EnrollmentClient, request: EnrollRequest): Promise<Answer<EnrollResponse>> =>
    answerOf((callback) => client.enroll(request, new Metadata(), within10s(), callback));
  const renew = (client: EnrollmentClient, request: RenewRequest): Promise<Answer<RenewResponse>> =>
    answerOf((callback) => client.renew(request, new Metadata(), within10s(), callback));
  const recover = (client: EnrollmentClient, request: RecoverRequest): Promise<Answer<RecoverResponse>> =>
    answerOf((callback) => client.recover(request, new Metadata(), within10s(), callback));
  const enrol = async (
    machine = new Machine(),
  ): Promise<{ readonly nodeId: string; readonly credential: NodeCredential; readonly machine: Machine }> => {
    const client = clientOf(enrolmentPort);
    const answer = await enroll(client, await machine.enrollRequest(await fixture.token()));
    if ("error" in answer) throw answer.error;
    return { nodeId: answer.response.nodeId, credential: answer.response.credential!, machine };
  };
  const presentedBy = async (port: number): Promise<X509Certificate> => {
    const socket: TLSSocket = connect({ port, host: "127.0.0.1", ca: fixture.authority.bundlePem, ALPNProtocols: ["h2"] });
    await once(socket, "secureConnect");
    const certificate = socket.getPeerX509Certificate()!;
    socket.destroy();
    return certificate;
  };

  it("enrols where no certificate is needed and renews where one is", async () => {
    const { credential, machine } = await enrol();
    const client = clientOf(sessionPort, machine.key, credential.certificateChain);
    const renewed = await renew(client, await machine.renewRequest(0));
    expect(renewed).toMatchObject({ response: { credential: { renewalCounter: 1, sessionEndpoint: "127.0.0.1:7443" } } });
  });

  it("says refusals as status, text and trailer", async () => {
    const client = clientOf(enrolmentPort);
    const answer = await enroll(client, await new Machine().enrollRequest("nonsense"));
    if (!("error" in answer)) throw new Error("a token was made up and taken");
    expect(answer.error.code).toBe(status.UNAUTHENTICATED);
    expect(answer.error.details).toMatch(/^TokenInvalid: the join token is not known; make one with: drover token create$/);
    expect(answer.error.metadata.get(REASON_METADATA)).toEqual(["TokenInvalid"]);
  });

  it("serves each call on its own port only", async () => {
    const { credential, machine } = await enrol();
    const [open, mutual] = [clientOf(enrolmentPort), clientOf(sessionPort, machine.key, credential.certificateChain)];
    expect(await renew(open, await machine.renewRequest(0))).toMatchObject({ error: { code: status.UNIMPLEMENTED } });
    const request = await machine.enrollRequest(await fixture.token());
    expect(await enroll(mutual, request)).toMatchObject({ error: { code: status.UNIMPLEMENTED } });
  });

  it("lets nobody in for sessions without a certificate of ours, nor with an expired one", async () => {
    const { machine } = await enrol();
    await using other = await enrolmentFixture();
    const foreign = await other.authority.issueNode("abcdefghij", machine.key.publicKey);
    const past = await openAuthority(join(fixture.directory, "ca"), new VirtualClock(Date.now() - 40 * DAY_MS));
    const expired = await past.issueNode("abcdefghij", machine.key.publicKey);
    const attempts = [
      clientOf(sessionPort),
      clientOf(sessionPort, machine.key, foreign.chain),
      clientOf(sessionPort, machine.key, expired.chain),
    ];
    for (const client of attempts) {
      expect(await renew(client, await machine.renewRequest(0))).toMatchObject({ error: { code: status.UNAVAILABLE } });
    }
  });

  it("refuses a revoked node at its next call on a connection that is open already", async () => {
    const { nodeId, credential, machine } = await enrol();
    const client = clientOf(sessionPort, machine.key, credential.certificateChain);
    expect(await renew(client, await machine.renewRequest(0))).toHaveProperty("response");
    await revokeNode({ ...fixture, bus: { revokeUser: async () => undefined } }, nodeId, "operator:ann", "");
    expect(await renew(client, await machine.renewRequest(1))).toMatchObject({ error: { code: status.PERMISSION_DENIED } });
  });

  it("recovers a node over server TLS, and says why when its certificate has not expired", async () => {
    const { credential, machine } = await enrol();
    const client = clientOf(enrolmentPort);
    const request = await machine.recoverRequest(credential.certificateChain[0]!, Date.now());
    const details = expect.stringContaining("CertificateNotExpired: ");
    expect(await recover(client, request)).toMatchObject({ error: { code: status.FAILED_PRECONDITION, details } });
  });

  it("sends its CA with its certificate, so that agents can check the pin", async () => {
    const socket = connect({ port: enrolmentPort, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    await once(socket, "secureConnect");
    const issuer = new X509Certificate(socket.getPeerCertificate(true).issuerCertificate.raw);
    socket.destroy();
    expect(issuer.raw.equals(fixture.authority.bundle[0]!)).toBe(true);
  });

  it("changes its certificate at two thirds of its life without a restart and without cutting who is connected", async () => {
    const before = [await presentedBy(enrolmentPort), await presentedBy(enrolmentPort)];
    expect(before[0]!.serialNumber).toBe(before[1]!.serialNumber);
    const { credential, machine } = await enrol();
    const client = clientOf(sessionPort, machine.key, credential.certificateChain);
    expect(await renew(client, await machine.renewRequest(0))).toHaveProperty("response");
    await identityClock.advance(19 * DAY_MS);
    expect((await presentedBy(enrolmentPort)).serialNumber).toBe(before[0]!.serialNumber);
    const reissued = identity.nextIssue();
    await identityClock.advance(1.1 * DAY_MS);
    await reissued;
    const after = await presentedBy(enrolmentPort);
    expect(after.serialNumber).not.toBe(before[0]!.serialNumber);
    expect(after.publicKey.equals(before[0]!.publicKey)).toBe(false);
    expect(await renew(client, await machine.renewRequest(1))).toHaveProperty("response");
  });

  it("follows a rotation of the CA: old and new nodes are let in", async () => {
    const { credential, machine } = await enrol();
    const added = identity.nextIssue();
    await fixture.authority.addSuccessor();
    await added;
    const promoted = identity.nextIssue();
    await fixture.authority.promoteSuccessor();
    await promoted;
    const presented = await presentedBy(sessionPort).catch(() => presentedBy(enrolmentPort));
    expect(presented.verify(new X509Certificate(fixture.authority.bundle[0]!).publicKey)).toBe(true);
    const stranger = clientOf(sessionPort);
    expect(await renew(stranger, await machine.renewRequest(0))).toMatchObject({ error: { code: status.UNAVAILABLE } });
    const newcomer = await enrol();
    for (const node of [{ credential, machine }, newcomer]) {
      const client = clientOf(sessionPort, node.machine.key, node.credential.certificateChain);
      expect(await renew(client, await node.machine.renewRequest(0))).toHaveProperty("response");
    }
  });
});
