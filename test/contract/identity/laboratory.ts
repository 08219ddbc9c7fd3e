/**
 * A program of its own in the bed: enrolled nodes made of the agent's own parts, and servers that pretend to be the coordinator and write
 * down all they get. Asked over HTTP on a unix socket, one action per request; what it can be asked is in Actions.
 * argv: DIRECTORY; a node's state is in DIRECTORY/NAME.
 */
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { silentLog, systemClock, systemRandom } from "@drover/lifecycle";
import { type Event, Facts, Hello, ReportBatch, subjects } from "@drover/proto";
import type { Conversation } from "../../../agent/src/ports.ts";
import { enrolOnce } from "../../../agent/src/session/enrol.ts";
import { FakeAuthority } from "../../../agent/src/session/fake-authority.ts";
import { GrpcSessions } from "../../../agent/src/session/grpc-sessions.ts";
import { IdentityStore, type NodeIdentity } from "../../../agent/src/session/identity.ts";
import { connectToNats } from "../../../agent/src/session/nats-bus.ts";
import { recoverOnce } from "../../../agent/src/session/recover.ts";
import { FileStateDirectory } from "../../../agent/src/state/index.ts";
import type { Actions, Ending, Lines } from "./ask.ts";

type NatsConnection = Awaited<ReturnType<typeof connectToNats>>;

const clock = systemClock;
const random = systemRandom;
const directory = process.argv[2] ?? "";
const never = new AbortController().signal;

/** What one node holds open. */
class LineHolder {
  readonly connection: NatsConnection;
  readonly conversation: Conversation;
  #natsEndedAtMs: number | undefined;
  #sessionEndedAtMs: number | undefined;
  #violations = 0;

  private constructor(connection: NatsConnection, conversation: Conversation) {
    this.connection = connection;
    this.conversation = conversation;
    void connection.closed().then(() => {
      this.#natsEndedAtMs = Date.now();
    });
    void this.#listen();
    void this.#watchStatus();
  }

  static async open(identity: NodeIdentity): Promise<LineHolder> {
    const connection = await connectToNats(identity, never);
    const conversation = await new GrpcSessions(clock, { current: identity, onRotated: () => undefined }).open(never);
    const hello = Hello.fromPartial({ agentVersion: "0.1.0", outboxEpoch: Buffer.alloc(8, 1), processId: Buffer.from(random.bytes(16)) });
    await conversation.send({ body: { $case: "hello", value: hello } });
    return new LineHolder(connection, conversation);
  }

  get lines(): Lines {
    return {
      natsClientId: this.connection.info?.client_id ?? 0,
      ...(this.#natsEndedAtMs === undefined ? {} : { natsEndedAtMs: this.#natsEndedAtMs }),
      ...(this.#sessionEndedAtMs === undefined ? {} : { sessionEndedAtMs: this.#sessionEndedAtMs }),
      violations: this.#violations,
    };
  }

  async #listen(): Promise<void> {
    try {
      // oxlint-disable-next-line no-unused-vars
      for await (const _ of this.conversation.received()) continue;
    } catch {
      // How it ended does not matter, when it did does.
    }
    this.#sessionEndedAtMs = Date.now();
  }

  async #watchStatus(): Promise<void> {
    for await (const status of this.connection.status()) if (status.type === "error") this.#violations += 1;
  }
}

const holders = new Map<string, LineHolder>();
const recorded = new Map<number, Buffer[]>();

async function stateOf(name: string): Promise<FileStateDirectory> {
  await mkdir(join(directory, name), { recursive: true, mode: 0o700 });
  return FileStateDirectory.open(join(directory, name));
}

async function identityOf(name: string): Promise<NodeIdentity> {
  const identity = await new IdentityStore(await stateOf(name)).load();
  if (identity === undefined) throw new Error(`${name} is not enrolled`);
  return identity;
}

function holder(name: string): LineHolder {
  const known = holders.get(name);
  if (known === undefined) throw new Error(`${name} holds no lines`);
  return known;
}

const actions: { readonly [A in keyof Actions]: (asked: Actions[A]["asked"]) => Promise<Actions[A]["answer"]> } = {
  async enrol({ name, token }): Promise<Ending> {
    const state = await stateOf(name);
    const joinTokenFile = join(directory, `${name}.token`);
    await writeFile(joinTokenFile, `${token.joinToken}\n`, { mode: 0o600 });
    const { endpoint, caPin } = token;
    const facts = async (): Promise<Facts> => Facts.fromPartial({ hostname: name });
    const store = new IdentityStore(state);
    const parts = { clock, random, log: silentLog, store, endpoint, caPin, joinTokenFile, machineName: name, facts, tell: () => undefined };
    const ending = await enrolOnce(parts, never);
    return ending.kind === "enrolled" ? { kind: "done", nodeId: ending.identity.nodeId } : ending;
  },
  async recover({ name, endpoint }): Promise<Ending> {
    const identity = await identityOf(name);
    const ending = await recoverOnce({ clock, store: new IdentityStore(await stateOf(name)), endpoint }, identity, never);
    return ending.kind === "renewed" ? { kind: "done", nodeId: ending.identity.nodeId } : ending;
  },
  async open({ name }) {
    try {
      holders.set(name, await LineHolder.open(await identityOf(name)));
      return { kind: "done", nodeId: (await identityOf(name)).nodeId };
    } catch (error) {
      return { kind: "refused", reason: "NotOpened", message: (error as Error).message };
    }
  },
  async lines({ name }) {
    return holder(name).lines;
  },
  async report({ name, bodyNode, subjectNode, marker }) {
    const event: Event = {
      atMs: Date.now(),
      generation: 0,
      planEpoch: 0,
      body: { $case: "agentStarted", value: { agentVersion: marker, bootId: "", startCount: 1 } },
    };
    const batch = { nodeId: bodyNode, outboxEpoch: Buffer.from(random.bytes(8)), seq: 1, events: [event] };
    const { connection } = holder(name);
    connection.publish(subjects.report(subjectNode), ReportBatch.encode(batch).finish());
    await connection.flush();
    return {};
  },
  async impostor({ host, caPem }) {
    const authority = await FakeAuthority.make();
    const { keyPem, chainPem } = await authority.serverPair();
    const received: Buffer[] = [];
    const server = createTlsServer({ key: keyPem, cert: chainPem + caPem, ALPNProtocols: ["h2"] }, (socket) => {
      socket.on("data", (bytes: Buffer) => received.push(bytes));
      socket.on("error", () => undefined);
    });
    server.listen(0, host);
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    recorded.set(port, received);
    let handshakes = 0;
    server.on("secureConnection", () => (handshakes += 1));
    handshakesAt.set(port, () => handshakes);
    return { port };
  },
  async recorded({ port }) {
    return { handshakes: handshakesAt.get(port)?.() ?? 0, bytes: Buffer.concat(recorded.get(port) ?? []).length };
  },
};
const handshakesAt = new Map<number, () => number>();

createServer((request, response) => {
  void (async () => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    try {
      const act = actions[(request.url ?? "").slice(1) as keyof Actions] as (asked: unknown) => Promise<unknown>;
      response.end(JSON.stringify(await act(JSON.parse(Buffer.concat(chunks).toString()))));
    } catch (error) {
      response.statusCode = 500;
      response.end((error as Error).stack);
    }
  })();
}).listen(join(directory, "socket"));
