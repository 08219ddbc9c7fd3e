/** A coordinator for tests: real gRPC servers over TLS and mTLS that answer as they are told, and record what they were asked. */
import { verify, X509Certificate } from "node:crypto";
import {
  ConverseRequest,
  type ConverseResponse,
  EnrollmentService,
  type EnrollmentServer,
  EnrollResponse,
  type EnrollRequest,
  NodeCredential,
  NodeSessionService,
  RecoverResponse,
  type RecoverRequest,
  type RenewRequest,
  RenewResponse,
} from "@drover/proto";
import { Metadata, Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { FakeAuthority, keyOfRequest } from "./fake-authority.ts";

export type Converse = (call: ServerDuplexStream<ConverseRequest, ConverseResponse>) => void;

export class FakeCoordinator {
  readonly authority: FakeAuthority;
  readonly enrolled: EnrollRequest[] = [];
  readonly renewed: RenewRequest[] = [];
  readonly recovered: RecoverRequest[] = [];
  /** Life of the next certificate; it began a third of that ago. */
  lifeMs = 3_600_000;
  /** The next answers are lost on the way, after the work was done. */
  answersToLose = 0;
  refusal: { readonly code: number; readonly details: string } | undefined;
  converse: Converse = (call) => call.end();
  natsUrls = ["nats://127.0.0.1:4222"];
  natsUserJwt = "jwt";
  natsCaPem = "";
  /** "127.0.0.1:port", once started. */
  enrolmentEndpoint = "";
  sessionEndpoint = "";
  readonly #nodes = new Map<string, string>();
  readonly #servers: Server[] = [];

  private constructor(authority: FakeAuthority) {
    this.authority = authority;
  }

  static async start(): Promise<FakeCoordinator> {
    const coordinator = new FakeCoordinator(await FakeAuthority.make());
    await coordinator.#start();
    return coordinator;
  }

  async #start(): Promise<void> {
    const { keyPem, chainPem } = await this.authority.serverPair();
    const pair = [{ private_key: Buffer.from(keyPem), cert_chain: Buffer.from(chainPem) }];
    const enrolment: EnrollmentServer = {
      enroll: (call, done) => void this.#answer(done, () => this.#enroll(call.request)),
      renew: (call, done) => void this.#answer(done, () => this.#renew(call.request)),
      recover: (call, done) => void this.#answer(done, () => this.#recover(call.request)),
    };
    const open = new Server();
    open.addService(EnrollmentService, enrolment);
    this.enrolmentEndpoint = await this.#bind(open, ServerCredentials.createSsl(null, pair));
    const closed = new Server();
    closed.addService(EnrollmentService, enrolment);
    closed.addService(NodeSessionService, {
      converse: (call: ServerDuplexStream<ConverseRequest, ConverseResponse>) => this.converse(call),
    });
    const root = Buffer.from(this.authority.certificate.toString());
    this.sessionEndpoint = await this.#bind(closed, ServerCredentials.createSsl(root, pair, true));
  }

  stop(): void {
    for (const server of this.#servers) server.forceShutdown();
  }

  #bind(server: Server, credentials: ServerCredentials): Promise<string> {
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", credentials, (error, port) => (error === null ? resolve(`127.0.0.1:${port}`) : reject(error)));
    });
  }

  async #enroll(request: EnrollRequest): Promise<EnrollResponse> {
    this.enrolled.push(request);
    const key = `${request.joinToken} ${request.nonce.toString("hex")}`;
    const nodeId = this.#nodes.get(key) ?? `node${"abcdefgh"[this.#nodes.size] ?? "z"}22222`;
    this.#nodes.set(key, nodeId);
    return EnrollResponse.fromPartial({ nodeId, credential: await this.credentialFor(request.csr, 0) });
  }

  async #renew(request: RenewRequest): Promise<RenewResponse> {
    this.renewed.push(request);
    return RenewResponse.fromPartial({ credential: await this.credentialFor(request.csr, request.renewalCounter + 1) });
  }

  async #recover(request: RecoverRequest): Promise<RecoverResponse> {
    this.recovered.push(request);
    const signed = Buffer.concat([Buffer.from(`drover-recover-v1\0${request.atMs}\0`), request.csr]);
    const isProved = verify("sha256", signed, new X509Certificate(request.certificate).publicKey, request.proof);
    if (!isProved) throw new Error("the proof is wrong");
    return RecoverResponse.fromPartial({ credential: await this.credentialFor(request.csr, 7) });
  }

  async credentialFor(csr: Uint8Array, renewalCounter: number): Promise<NodeCredential> {
    const notBeforeMs = Date.now() - this.lifeMs / 3;
    const leaf = await this.authority.issue(await keyOfRequest(csr), notBeforeMs, notBeforeMs + this.lifeMs);
    return NodeCredential.fromPartial({
      certificateChain: [leaf],
      caBundle: [this.authority.certificate.raw],
      natsUrls: this.natsUrls,
      natsUserJwt: this.natsUserJwt,
      natsCaPem: this.natsCaPem,
      renewalCounter,
      sessionEndpoint: this.sessionEndpoint,
    });
  }

  async #answer<T>(
    done: (error: { code: number; details: string; metadata: Metadata } | null, answer?: T) => void,
    work: () => Promise<T>,
  ): Promise<void> {
    const refuse = (code: number, details: string): void => done({ code, details, metadata: new Metadata() });
    if (this.refusal !== undefined) {
      refuse(this.refusal.code, this.refusal.details);
      return;
    }
    try {
      const answer = await work();
      this.answersToLose -= 1;
      if (this.answersToLose >= 0) refuse(status.UNAVAILABLE, "lost on the way");
      else done(null, answer);
    } catch (error) {
      refuse(status.INVALID_ARGUMENT, String(error));
    }
  }
}
