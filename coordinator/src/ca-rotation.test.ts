/** The CA rotated under a real process: an agent-like client that trusts only what it was given goes on working. */
import "reflect-metadata";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect } from "node:tls";
import { promisify } from "node:util";
import { credentials, type ServiceError } from "@grpc/grpc-js";
import { EnrollmentClient, Hello, type NodeCredential, NodeSessionClient } from "@drover/proto";
import { systemClock } from "@drover/lifecycle";
import { afterAll, beforeAll, expect, it } from "vitest";
import { until } from "./bus/bus-conformance.ts";
import { type BoundPorts, dataFiles } from "./data-files.ts";
import { openAuthority, pemOf } from "./identity/authority.ts";
import { Machine, MachineKey } from "./identity/enrolment-fixture.ts";

const MAIN = join(import.meta.dirname, "main.ts");
let directory: string;
let configFile: string;
let child: ChildProcess;
let ports: BoundPorts;
/** How often the process has read that they changed. */
let authorityChanges = 0;

/** Standard output, and standard error when it failed. */
async function command(...args: string[]): Promise<string> {
  try {
    return (await promisify(execFile)(process.execPath, [MAIN, ...args, "--config", configFile], { timeout: 60_000 })).stdout;
  } catch (error) {
    return `failed: ${(error as { stderr: string }).stderr}`;
  }
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-rotation-"));
  configFile = join(directory, "coordinator.yaml");
  const any = '"127.0.0.1:0"';
  const listen = `listen: {session: ${any}, enrolment: ${any}, metrics: ${any}}`;
  const lines = [`dataDir: ${join(directory, "data")}`, listen, "advertise: {hosts: [localhost]}", "nats: {embedded: {port: 0}}"];
  await writeFile(configFile, lines.join("\n"));
  child = spawn(process.execPath, [MAIN, "run", "--config", configFile], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout! })) if (line.includes('"msg":"serving"')) break;
  createInterface({ input: child.stdout! }).on("line", (line) => {
    if (line.includes('"certificate authorities changed"')) authorityChanges += 1;
  });
  ports = JSON.parse(await readFile(dataFiles(join(directory, "data")).ports, "utf8")) as BoundPorts;
}, 60_000);

afterAll(async () => {
  if (child !== undefined && child.exitCode === null) {
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  }
  await rm(directory, { recursive: true, force: true });
});

type Answering<T> = (callback: (error: ServiceError | null, answer: T) => void) => void;
const unary = <T>(call: Answering<T>): Promise<T> =>
  new Promise((resolve, reject) => call((error, answer) => (error === null ? resolve(answer) : reject(error))));

/** A machine with its present key, and what it was given with it. */
interface Agent {
  readonly machine: Machine;
  readonly key: MachineKey;
  readonly credential: NodeCredential;
}

function tlsOf({ credential, key }: Agent): ReturnType<typeof credentials.createSsl> {
  const chain = Buffer.from(pemOf(credential.certificateChain));
  return credentials.createSsl(Buffer.from(pemOf(credential.caBundle)), Buffer.from(key.privateKeyPem), chain);
}

async function renewed(agent: Agent): Promise<Agent> {
  const client = new EnrollmentClient(`localhost:${ports.session}`, tlsOf(agent));
  const key = new MachineKey();
  const request = await agent.machine.renewRequest(agent.credential.renewalCounter, key);
  try {
    const { credential } = await unary<{ credential?: NodeCredential | undefined }>((done) => client.renew(request, done));
    return { ...agent, key, credential: credential! };
  } finally {
    client.close();
  }
}

/** A conversation that was welcomed. */
async function session(agent: Agent): Promise<{ readonly isOpen: () => boolean; close(): void }> {
  const client = new NodeSessionClient(`localhost:${ports.session}`, tlsOf(agent));
  const stream = client.converse();
  let isOpen = true;
  const welcomed = new Promise((resolve, reject) => {
    stream.once("data", resolve);
    stream.on("error", (error) => {
      isOpen = false;
      reject(error);
    });
    stream.on("end", () => {
      isOpen = false;
    });
  });
  stream.write({ body: { $case: "hello", value: Hello.fromPartial({ processId: Buffer.alloc(16, 1), stepKinds: ["sysctl"] }) } });
  await welcomed;
  return {
    isOpen: () => isOpen,
    close: () => {
      stream.on("error", () => undefined);
      client.close();
    },
  };
}

/** The name of the CA behind the certificate that is served. */
async function servedIssuer(): Promise<string> {
  const socket = connect({ port: ports.enrolment, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"] });
  await once(socket, "secureConnect");
  const { issuer } = socket.getPeerX509Certificate()!;
  socket.destroy();
  return issuer;
}

it("keeps a node working through begin, renew and promote", async () => {
  const machine = new Machine();
  const token = /^token: +(\S+)/m.exec(await command("token", "create"))![1]!;
  const authority = await openAuthority(dataFiles(join(directory, "data")).authority, systemClock);
  const first = new EnrollmentClient(`localhost:${ports.enrolment}`, credentials.createSsl(Buffer.from(authority.bundlePem)));
  const request = await machine.enrollRequest(token);
  const enrolled = await unary<{ credential?: NodeCredential | undefined }>((done) => first.enroll(request, done));
  first.close();
  let agent: Agent = { machine, key: machine.key, credential: enrolled.credential! };
  const stale = agent;
  const oldIssuer = await servedIssuer();

  expect(await command("ca", "rotate", "--promote")).toMatch(/^failed: .*there is no successor/);
  expect(await command("ca", "rotate", "--begin")).toMatch(/nodes: +0 of 1 hold the successor[^]*still without it:\n +nodes: worker/);
  expect(await command("ca", "rotate", "--promote")).toMatch(/^failed: .*1 of 1 nodes and 0 of 0 operators do not hold it/);
  expect(await servedIssuer()).toBe(oldIssuer);

  // Not by renewing until it is there: a node may renew ten times.
  await until(() => authorityChanges === 1);
  agent = await renewed(agent);
  expect(agent.credential.caBundle.length).toBe(2);
  const open = await session(agent);
  expect(await command("ca", "rotate", "--status")).toMatch(
    /nodes: +1 of 1 hold the successor[^]*next: +drover-coordinator ca rotate --promote/,
  );
  expect(await command("ca", "rotate", "--promote")).toMatch(/^issuing: +sha256:[0-9a-f]{64}\npromoted/);
  await until(async () => (await servedIssuer()) !== oldIssuer);

  // Certified by the old CA, it verifies the new one's server, renews, and comes again with what the new one certified.
  expect(open.isOpen()).toBe(true);
  open.close();
  (await session(agent)).close();
  agent = await renewed(agent);
  expect(new X509Certificate(agent.credential.certificateChain[0]!).issuer).not.toBe(oldIssuer);
  (await session(agent)).close();
  await expect(session(stale)).rejects.toThrow();
}, 120_000);
