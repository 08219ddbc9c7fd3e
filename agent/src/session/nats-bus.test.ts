import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom, silentLog, systemClock, type Clock } from "@drover/lifecycle";
import { Budget, shardOf, subjects, ToNode } from "@drover/proto";
import { connect, nkeyAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import { createUser } from "@nats-io/nkeys";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeCoordinator } from "./fake-coordinator.ts";
import { identityOf, makeNodeKeys, type NodeIdentity } from "./identity.ts";
import { NatsBus } from "./nats-bus.ts";
import { makeSigningRequest } from "./signing-request.ts";

const NODE = "abcdefgh22";
/** Waits twenty times shorter than asked, but for deadlines. */
const hastyClock: Clock = {
  ...systemClock,
  setTimer: (delayMs, fire) => systemClock.setTimer(delayMs >= 5000 ? delayMs : delayMs / 20, fire),
};

let coordinator: FakeCoordinator;
let directory: string;
let server: ChildProcess;
let port = 0;
let observer: NatsConnection;
let identity: NodeIdentity;
const observerUser = createUser();
const keys = makeNodeKeys();
const successor = makeNodeKeys();

beforeAll(async () => {
  coordinator = await FakeCoordinator.start();
  directory = await mkdtemp(join(tmpdir(), "drover-nats-bus-"));
  const { keyPem, chainPem } = await coordinator.authority.serverPair();
  await writeFile(join(directory, "key.pem"), keyPem, { mode: 0o600 });
  await writeFile(join(directory, "cert.pem"), chainPem);
  await startServer();
  coordinator.natsCaPem = coordinator.authority.certificate.toString();
  coordinator.natsUrls = [`tls://127.0.0.1:${port}`];
  identity = identityOf(NODE, keys, await coordinator.credentialFor(await makeSigningRequest(keys.privateKeyPem), 0));
});
afterAll(async () => {
  await observer.close();
  await stopServer();
  coordinator.stop();
  await rm(directory, { recursive: true });
});

async function startServer(): Promise<void> {
  const nodeUser = (key: string): string =>
    `{nkey: ${key}, permissions: {publish: ["drover.hb.>", "drover.report.>"], subscribe: ["drover.to.>", "drover.budget.>"]}}`;
  const users = [`{nkey: ${observerUser.getPublicKey()}}`, nodeUser(keys.natsPublicKey), nodeUser(successor.natsPublicKey)];
  await writeFile(
    join(directory, "nats.conf"),
    `listen: "127.0.0.1:${port === 0 ? -1 : port}"\nports_file_dir: "${directory}"
tls: {cert_file: "${directory}/cert.pem", key_file: "${directory}/key.pem"}\nauthorization: {users: [${users.join(", ")}]}\n`,
  );
  server = spawn("nats-server", ["-c", join(directory, "nats.conf")], { stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  for await (const chunk of server.stderr!) {
    output += String(chunk);
    if (output.includes("Server is ready")) break;
  }
  server.stderr!.resume();
  if (port === 0) {
    // It says that it is ready before the file is there.
    port = await vi.waitFor(async () => {
      const ports = JSON.parse(await readFile(join(directory, `nats-server_${server.pid}.ports`), "utf8")) as { nats: string[] };
      return Number(new URL(ports.nats[0]!).port);
    }, 20_000);
  }
  observer = await connect({
    servers: `tls://127.0.0.1:${port}`,
    authenticator: nkeyAuthenticator(observerUser.getSeed()),
    tls: { ca: coordinator.authority.certificate.toString() },
    reconnect: false,
  });
}

async function stopServer(): Promise<void> {
  const ended = once(server, "exit");
  server.kill("SIGKILL");
  await ended;
}

let stop: AbortController;
let bus: NatsBus;
let running: Promise<void>;
let rotate: (identity: NodeIdentity) => void;
let connections: number;
beforeEach(() => {
  const listeners: (() => void)[] = [];
  const credentials = {
    current: identity,
    onRotated: (listen: (identity: NodeIdentity) => void) => void listeners.push(() => listen(credentials.current)),
  };
  rotate = (next) => {
    credentials.current = next;
    for (const listen of listeners) listen();
  };
  bus = new NatsBus({ clock: hastyClock, random: seededRandom(3), log: silentLog, credentials });
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort(new Error("test over"));
  await running;
});

/** Starts the bus and resolves at its n-th connection. */
function connected(count = 1): Promise<void> {
  connections = 0;
  return new Promise((resolve) => {
    bus.onConnected(() => {
      connections += 1;
      if (connections === count) resolve();
    });
    if (count === 1) running = bus.run(stop.signal);
  });
}

async function next(subject: string): Promise<Uint8Array> {
  const subscription = observer.subscribe(subject, { max: 1 });
  for await (const message of subscription) return message.data;
  throw new Error("the observer was closed");
}

describe("the bus of one node, on a real server with TLS", () => {
  test("publishes on its own subjects and hears what is for it", async () => {
    await connected();
    const beat = next(subjects.heartbeat(NODE));
    const report = next(subjects.report(NODE));
    await observer.flush();
    bus.publishHeartbeat(Buffer.from("beat"));
    expect(bus.publishReport(Buffer.from("report"))).toBe(true);
    expect(Buffer.from(await beat).toString()).toBe("beat");
    expect(Buffer.from(await report).toString()).toBe("report");

    const heard = new Promise<ToNode>((resolve) => bus.onToNode(resolve));
    const granted = new Promise<Budget>((resolve) => bus.onBudget(resolve));
    const wake = ToNode.fromPartial({ body: { $case: "wake", value: { generation: 3 } } });
    observer.publish(subjects.toNode(NODE), Buffer.from([0xff, 0xff]));
    observer.publish(subjects.toNode(NODE), ToNode.encode(wake).finish());
    observer.publish(subjects.budget(shardOf(NODE)), Budget.encode(Budget.fromPartial({ heartbeatIntervalMs: 9 })).finish());
    expect(await heard).toMatchObject({ body: { $case: "wake", value: { generation: 3 } } });
    expect(await granted).toMatchObject({ heartbeatIntervalMs: 9 });
    expect(bus.dropped).toEqual({ heartbeats: 0, reports: 0, garbled: 1 });
  });

  test("without a connection nothing throws; what is lost is counted", () => {
    running = Promise.resolve();
    bus.publishHeartbeat(Buffer.from("beat"));
    expect(bus.publishReport(Buffer.from("report"))).toBe(false);
    expect(bus.isConnected).toBe(false);
    expect(bus.dropped).toEqual({ heartbeats: 1, reports: 1, garbled: 0 });
  });

  test("takes a bounded amount at once and more after the server had it", async () => {
    await connected();
    const batch = Buffer.alloc(32 * 1024);
    let taken = 0;
    while (bus.publishReport(batch)) taken += 1;
    expect(taken).toBe(8);
    await expect.poll(() => bus.publishReport(batch)).toBe(true);
  });

  test("a rotated credential is used by a new connection at once", async () => {
    await connected();
    const again = connected(2);
    connections = 1;
    const { credential } = identityOf(
      NODE,
      successor,
      await coordinator.credentialFor(await makeSigningRequest(successor.privateKeyPem), 1),
    );
    rotate({ ...identity, keys: successor, credential });
    await again;
    const beat = next(subjects.heartbeat(NODE));
    await observer.flush();
    bus.publishHeartbeat(Buffer.from("new"));
    expect(Buffer.from(await beat).toString()).toBe("new");
  });

  test("leaves a server that answers no more, and keeps one that does", async () => {
    let aheadMs = 0;
    let isStopped = false;
    const clock: Clock = {
      ...hastyClock,
      monotonicMs: () => systemClock.monotonicMs() + aheadMs,
      // The round trip's deadline, and nothing else while the server stands still.
      setTimer: (delayMs, fire) => hastyClock.setTimer(isStopped && delayMs === 60_000 ? 300 : delayMs, fire),
    };
    bus = new NatsBus({ clock, random: seededRandom(3), log: silentLog, credentials: { current: identity, onRotated: () => undefined } });
    await connected();
    aheadMs += 120_000;
    const beat = next(subjects.heartbeat(NODE));
    await observer.flush();
    bus.publishHeartbeat(Buffer.from("probe"));
    await beat;
    const again = connected(2);
    connections = 1;
    server.kill("SIGSTOP");
    await expect.poll(() => readFile(`/proc/${server.pid}/stat`, "utf8"), { timeout: 60_000 }).toMatch(/\) T /);
    isStopped = true;
    try {
      aheadMs += 120_000;
      bus.publishHeartbeat(Buffer.from("unanswered"));
      await expect.poll(() => bus.isConnected, { timeout: 60_000 }).toBe(false);
    } finally {
      isStopped = false;
      server.kill("SIGCONT");
    }
    await again;
    expect(bus.isConnected).toBe(true);
  });

  test("comes back by itself after the server was killed", async () => {
    await connected();
    const again = connected(2);
    connections = 1;
    await stopServer();
    await expect.poll(() => bus.isConnected).toBe(false);
    bus.publishHeartbeat(Buffer.from("lost"));
    await startServer();
    await again;
    const beat = next(subjects.heartbeat(NODE));
    await observer.flush();
    bus.publishHeartbeat(Buffer.from("back"));
    expect(Buffer.from(await beat).toString()).toBe("back");
  });
});
