/** Sessions of real sockets: the agent's own gRPC client on mTLS, with a certificate that each agent has from the start, as real ones have theirs. */
import { generateKeyPairSync } from "node:crypto";
import { GrpcSessions } from "@drover/agent";
import type { Authority } from "@drover/coordinator/real";
import { Secret, systemClock } from "@drover/lifecycle";
import type { ConverseRequest } from "@drover/proto";
import type { FleetSession, FleetSessions, SessionListener } from "../fleet/ports.ts";

type Identity = ConstructorParameters<typeof GrpcSessions>[1]["current"];

export interface SocketSessionsParts {
  readonly authority: Authority;
  readonly endpoint: string;
  readonly nodeIdOf: (agent: number) => string;
}

export class SocketSessions implements FleetSessions {
  readonly #parts: SocketSessionsParts;
  /** One for each agent, as a real one has it: TLS sessions are resumed from the second on. */
  readonly #sessions = new Map<number, Promise<GrpcSessions>>();
  readonly #ended = new AbortController();

  constructor(parts: SocketSessionsParts) {
    this.#parts = parts;
  }

  open(agent: number, listener: SessionListener): FleetSession {
    const ended = new AbortController();
    const signal = AbortSignal.any([ended.signal, this.#ended.signal]);
    const unsent: NonNullable<ConverseRequest["body"]>[] = [];
    let send = (body: NonNullable<ConverseRequest["body"]>): void => void unsent.push(body);
    let close = (): void => ended.abort(new Error("the agent wants another session"));
    const hold = async (): Promise<void> => {
      const conversation = await (await this.#sessionsOf(agent)).open(signal);
      close = () => conversation.close();
      send = (body) => void conversation.send({ body }).catch(() => undefined);
      for (const body of unsent.splice(0)) send(body);
      try {
        for await (const message of conversation.received()) listener.received(message);
      } finally {
        conversation.close();
      }
    };
    hold().then(
      () => listener.ended(""),
      (error: unknown) => listener.ended((error as Error).message || "ended"),
    );
    return {
      send: (body) => send(body),
      end: () => close(),
      abandon: () => ended.abort(new Error("the machine died")),
    };
  }

  /** @param agents 0 to agents - 1 get their certificates, one after the other */
  async enrolAll(agents: number): Promise<void> {
    for (let agent = 0; agent < agents && !this.#ended.signal.aborted; agent += 1) {
      await this.#sessionsOf(agent);
      // Beats go on meanwhile.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  close(): void {
    this.#ended.abort(new Error("the simulation ends"));
  }

  #sessionsOf(agent: number): Promise<GrpcSessions> {
    let sessions = this.#sessions.get(agent);
    if (sessions === undefined) {
      sessions = this.#enrolled(agent).then((current) => new GrpcSessions(systemClock, { current, onRotated: () => undefined }));
      this.#sessions.set(agent, sessions);
    }
    return sessions;
  }

  async #enrolled(agent: number): Promise<Identity> {
    const { authority, endpoint, nodeIdOf } = this.#parts;
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const nodeId = nodeIdOf(agent);
    const leaf = await authority.issueNode(nodeId, publicKey);
    const keys = {
      privateKeyPem: new Secret(privateKey.export({ type: "pkcs8", format: "pem" }).toString()),
      natsSeed: new Secret(""),
      natsPublicKey: "",
    };
    const credential = {
      certificateChain: [...leaf.chain],
      caBundle: [...authority.bundle],
      natsUrls: [],
      natsUserJwt: "",
      natsCaPem: "",
      renewalCounter: 0,
      sessionEndpoint: endpoint,
    };
    return { nodeId, keys, credential, notBeforeMs: 0, notAfterMs: leaf.notAfterMs };
  }
}
