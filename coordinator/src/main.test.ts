import "reflect-metadata";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials, makeGenericClientConstructor, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { service as health } from "grpc-health-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { systemClock } from "@drover/lifecycle";
import { Hello, NodeSessionClient, OperatorClient } from "@drover/proto";
import { type BoundPorts, dataFiles } from "./data-files.ts";
import { openAuthority, pemOf } from "./identity/authority.ts";
import type { OperatorContext } from "./operator-context.ts";
import { keys } from "./store/keys.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";
import type { Store } from "./store/store.ts";
import { putJson } from "./store/values.ts";

const MAIN = join(import.meta.dirname, "main.ts");
const NODE_ID = "abcdefghij";

let directory: string;
let configFile: string;
let child: ChildProcess;
let ports: BoundPorts;
let store: Store;
let admin: OperatorClient;
let viewer: OperatorClient;
let stranger: OperatorClient;
let nodeCredentials: ReturnType<typeof credentials.createSsl>;

function command(...args: string[]) {
  const [verb, ...rest] = args.join(" ").split(" ");
  return spawnSync(process.execPath, [MAIN, verb!, ...rest, "--config", configFile], { encoding: "utf8", timeout: 30_000 });
}

async function operator(name: string, role: string): Promise<OperatorContext> {
  const out = join(directory, "context.yaml");
  const made = command(`operator create ${name} --role ${role} --out ${out}`);
  if (made.status !== 0) throw new Error(made.stderr);
  expect((await stat(out)).mode & 0o777).toBe(0o600);
  const file = parse(await readFile(out, "utf8")) as { currentContext: string; contexts: OperatorContext[] };
  return file.contexts.find((context) => context.name === name)!;
}

function clientOf({ endpoint, caPem, keyPem, certificatePem }: OperatorContext): OperatorClient {
  return new OperatorClient(endpoint, credentials.createSsl(Buffer.from(caPem), Buffer.from(keyPem), Buffer.from(certificatePem)));
}

async function nodeIdentity(): Promise<ReturnType<typeof credentials.createSsl>> {
  const authority = await openAuthority(dataFiles(join(directory, "data")).authority, systemClock);
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const leaf = await authority.issueNode(NODE_ID, pair.publicKey);
  const record = {
    nodeId: NODE_ID,
    name: "worker",
    enrolledAtMs: Date.now(),
    keyFingerprint: leaf.keyFingerprint,
    certificateSerial: leaf.serial,
    certificateNotAfterMs: leaf.notAfterMs,
    natsPublicKey: "U",
    renewalCounter: 0,
    recoveredSerials: [],
    bakeManifestDigest: "",
  };
  const object = {
    apiVersion: "drover.dev/v1alpha1",
    kind: "Node",
    metadata: { name: "worker", uid: NODE_ID, labels: { role: "web" } },
    spec: {},
  };
  await store.commit([putJson(keys.node(NODE_ID), record, 0), putJson(keys.object("Node", "worker"), object, 0)]);
  const key = Buffer.from(pair.privateKey.export({ type: "pkcs8", format: "pem" }) as string);
  return credentials.createSsl(Buffer.from(authority.bundlePem), key, Buffer.from(pemOf(leaf.chain)));
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-main-"));
  configFile = join(directory, "coordinator.yaml");
  const loopback = '"127.0.0.1:0"';
  await writeFile(
    configFile,
    [
      `dataDir: ${join(directory, "data")}`,
      `listen: {session: ${loopback}, enrolment: ${loopback}, metrics: ${loopback}}`,
      "advertise: {hosts: [localhost]}",
      "nats: {embedded: {port: 0}}",
    ].join("\n"),
  );
  child = spawn(process.execPath, [MAIN, "run", "--config", configFile], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise<void>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`ended with ${code} before it served`)));
    let said = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('"msg":"serving"')) resolve();
    });
  });
  const files = dataFiles(join(directory, "data"));
  ports = JSON.parse(await readFile(files.ports, "utf8")) as BoundPorts;
  store = openSqliteStore(files.store);
  admin = clientOf(await operator("alice", "admin"));
  const context = await operator("victor", "viewer");
  viewer = clientOf(context);
  stranger = new OperatorClient(context.endpoint, credentials.createSsl(Buffer.from(context.caPem)));
  nodeCredentials = await nodeIdentity();
  // What another process wrote is seen within half a second.
  await vi.waitFor(async () => expect(codeOf(await call(admin, "getObject", { kind: "Node", name: NODE_ID }))).toBe("OK"), 20_000);
  await vi.waitFor(async () => expect(codeOf(await call(viewer, "whoAmI", {}))).toBe("OK"), 20_000);
});

afterAll(async () => {
  for (const client of [admin, viewer, stranger]) client?.close();
  await store?.close();
  if (child !== undefined && child.exitCode === null) {
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await exited;
  }
  await rm(directory, { recursive: true, force: true });
});

interface Answer {
  readonly error: ServiceError | undefined;
  readonly response: Record<string, unknown>;
}

const DEFAULTS = { labelSelector: "", name: "", dryRun: 0, expectedResourceVersion: 0, json: Buffer.alloc(0), fromRevision: 0 };

/** Any unary call, or the first answer of a stream. */
function call(client: OperatorClient, method: string, request: object): Promise<Answer> {
  return new Promise((resolve) => {
    const invoke = (client as unknown as Record<string, (...args: unknown[]) => import("node:events").EventEmitter>)[method]!.bind(client);
    const full = { ...DEFAULTS, ...request };
    if (["watchObjects", "dryRunOnNodes", "fetchLogs", "watchProgress"].includes(method)) {
      const stream = invoke(full, new Metadata(), { deadline: Date.now() + 10_000 });
      stream.once("data", (response: Record<string, unknown>) => {
        resolve({ error: undefined, response });
        (stream as unknown as { cancel(): void }).cancel();
      });
      stream.on("error", (error: ServiceError) => resolve({ error, response: {} }));
      stream.on("end", () => resolve({ error: undefined, response: {} }));
      return;
    }
    invoke(full, new Metadata(), { deadline: Date.now() + 10_000 }, (error: ServiceError | null, response: Record<string, unknown>) =>
      resolve({ error: error ?? undefined, response }),
    );
  });
}

function codeOf({ error }: Answer): string {
  return error === undefined ? "OK" : status[error.code];
}

function reasonOf({ error }: Answer): string {
  return String(error?.metadata.get("drover-reason")[0] ?? "");
}

/** Everything but the audit log. */
async function decisions(): Promise<readonly string[]> {
  const { entries } = await store.list("");
  return entries.filter(({ key }) => !key.startsWith(keys.audits)).map(({ key, revision }) => `${key}@${revision}`);
}

const json = (object: unknown): { json: Buffer } => ({ json: Buffer.from(typeof object === "string" ? object : JSON.stringify(object)) });
const profile = (spec: object, name = "web") => ({ apiVersion: "drover.dev/v1alpha1", kind: "NodeProfile", metadata: { name }, spec });
const set = (spec: object) => ({ apiVersion: "drover.dev/v1alpha1", kind: "NodeSet", metadata: { name: "web" }, spec });
const good = profile({ sysctl: { values: { "net.core.somaxconn": 4096 } } });

describe("the process drover-coordinator", () => {
  it("says who an operator is", async () => {
    expect((await call(admin, "whoAmI", {})).response).toMatchObject({ name: "alice", role: "admin" });
    expect((await call(viewer, "whoAmI", {})).response).toMatchObject({ name: "victor", role: "viewer" });
  });

  const bad: readonly [string, () => Promise<Answer>, string, string][] = [
    ["no client certificate", () => call(stranger, "whoAmI", {}), "UNAVAILABLE", ""],
    ["a viewer who applies", () => call(viewer, "applyObject", json(good)), "PERMISSION_DENIED", "RoleTooLow"],
    [
      "a viewer who makes tokens",
      () => call(viewer, "createJoinToken", { labels: {}, description: "", ttlSeconds: 0 }),
      "PERMISSION_DENIED",
      "RoleTooLow",
    ],
    ["bytes that are no JSON", () => call(admin, "applyObject", json("{nonsense")), "INVALID_ARGUMENT", "InvalidObject"],
    ["JSON that is no object", () => call(admin, "applyObject", json([1, 2])), "INVALID_ARGUMENT", "InvalidObject"],
    ["no kind", () => call(admin, "applyObject", json({ metadata: { name: "x" } })), "INVALID_ARGUMENT", "InvalidObject"],
    ["a kind that is not known", () => call(admin, "applyObject", json({ ...good, kind: "Pod" })), "INVALID_ARGUMENT", "InvalidObject"],
    ["a field that is not known", () => call(admin, "applyObject", json(profile({ sysctls: {} }))), "INVALID_ARGUMENT", "InvalidObject"],
    ["a name with a slash", () => call(admin, "applyObject", json(profile({}, "a/b"))), "INVALID_ARGUMENT", "InvalidObject"],
    [
      "a sysctl that executes",
      () => call(admin, "applyObject", json(profile({ sysctl: { values: { "kernel.core_pattern": "|/bin/sh" } } }))),
      "INVALID_ARGUMENT",
      "InvalidObject",
    ],
    [
      "an empty selector",
      () => call(admin, "applyObject", json(set({ selector: {}, profile: "web" }))),
      "INVALID_ARGUMENT",
      "InvalidObject",
    ],
    [
      "a depth of ten thousand",
      () => call(admin, "applyObject", json("[".repeat(10_000) + "]".repeat(10_000))),
      "INVALID_ARGUMENT",
      "InvalidObject",
    ],
    [
      "a Node that is applied",
      () => call(admin, "applyObject", json({ ...good, kind: "Node", spec: {} })),
      "INVALID_ARGUMENT",
      "NotApplicable",
    ],
    [
      "an old resourceVersion",
      () => call(admin, "applyObject", { ...json(good), expectedResourceVersion: 999_999 }),
      "ABORTED",
      "Conflict",
    ],
    [
      "a dry-run mode that is not known",
      () => call(admin, "applyObject", { ...json(good), dryRun: 7 }),
      "INVALID_ARGUMENT",
      "InvalidRequest",
    ],
    ["more than 4 MiB", () => call(admin, "applyObject", { json: Buffer.alloc(5 * 1024 * 1024, 32) }), "RESOURCE_EXHAUSTED", ""],
    ["an object that is not there", () => call(admin, "getObject", { kind: "NodeSet", name: "none" }), "NOT_FOUND", "NotFound"],
    ["a kind that is not known, got", () => call(admin, "getObject", { kind: "nodess", name: "none" }), "INVALID_ARGUMENT", "UnknownKind"],
    ["no name", () => call(admin, "getObject", { kind: "Node" }), "INVALID_ARGUMENT", "InvalidRequest"],
    [
      "a selector that does not parse",
      () => call(admin, "listObjects", { kind: "Node", labelSelector: "a in (" }),
      "INVALID_ARGUMENT",
      "InvalidSelector",
    ],
    ["a watch from the future", () => call(admin, "watchObjects", { kind: "Node", fromRevision: 10 ** 9 }), "OUT_OF_RANGE", "Compacted"],
    ["a delete of what is not there", () => call(admin, "deleteObject", { kind: "NodeSet", name: "none" }), "NOT_FOUND", "NotFound"],
    [
      "a delete of a node that is not revoked",
      () => call(admin, "deleteObject", { kind: "Node", name: "worker" }),
      "FAILED_PRECONDITION",
      "NotRevoked",
    ],
    [
      "a token for too long",
      () => call(admin, "createJoinToken", { labels: {}, description: "", ttlSeconds: 10 ** 9 }),
      "INVALID_ARGUMENT",
      "InvalidRequest",
    ],
    [
      "a token with a bad label",
      () => call(admin, "createJoinToken", { labels: { "!": "x" }, description: "", ttlSeconds: 0 }),
      "INVALID_ARGUMENT",
      "InvalidRequest",
    ],
    ["a revocation of nobody", () => call(admin, "revokeNode", { node: "none", reason: "" }), "NOT_FOUND", "NotFound"],
    ["logs of nobody", () => call(admin, "fetchLogs", { node: "none", step: "", maxBytes: 0 }), "NOT_FOUND", "NotFound"],
    ["a dry run of nothing", () => call(admin, "dryRunOnNodes", { manifests: [], maxNodes: 0 }), "INVALID_ARGUMENT", "InvalidRequest"],
    ["an audit of too much", () => call(admin, "listAudit", { limit: 4_000_000_000, actor: "" }), "INVALID_ARGUMENT", "InvalidRequest"],
    ["bytes that are no protobuf", () => garbage(), "INVALID_ARGUMENT", "InvalidRequest"],
  ];

  it.each(bad)("refuses %s with the right status, and nothing is changed", async (_what, ask, code, reason) => {
    const before = await decisions();
    const answer = await ask();
    expect([codeOf(answer), reasonOf(answer)]).toEqual([code, reason]);
    if (reason !== "") expect(answer.error?.details).toMatch(new RegExp(`^${reason}: `));
    expect(await decisions()).toEqual(before);
  });

  it("audits what it refuses and what it does, in the same log", async () => {
    expect(codeOf(await call(admin, "applyObject", json(good)))).toBe("OK");
    const { response } = await call(admin, "listAudit", { limit: 200, actor: "", target: "" });
    const records = response["records"] as { actor: string; action: string; outcome: string }[];
    expect(records).toContainEqual(expect.objectContaining({ actor: "operator:victor", action: "PermissionDenied", outcome: "refused" }));
    expect(records).toContainEqual(expect.objectContaining({ actor: "operator:alice", action: "ApplyObject", outcome: "refused" }));
    expect(records).toContainEqual(expect.objectContaining({ actor: "operator:alice", action: "ApplyObject", outcome: "ok" }));
  });

  it("does nothing in a dry run", async () => {
    const before = await decisions();
    const answer = await call(admin, "applyObject", { ...json(profile({}, "other")), dryRun: 2 });
    expect(answer.response).toMatchObject({ outcome: 1 });
    expect(await decisions()).toEqual(before);
  });

  it("lets a node converse, and neither be an operator nor send more than 64 KiB", async () => {
    const endpoint = `localhost:${ports.session}`;
    const asOperator = new OperatorClient(endpoint, nodeCredentials);
    expect(reasonOf(await call(asOperator, "whoAmI", {}))).toBe("NotAnOperator");
    asOperator.close();
    const node = new NodeSessionClient(endpoint, nodeCredentials);
    const hello = Hello.fromPartial({ processId: Buffer.alloc(16, 1), stepKinds: ["sysctl"] });
    const heard = await converse(node, hello);
    expect(heard).toMatchObject({ first: "welcome" });
    const tooMuch = await converse(node, { ...hello, agentVersion: "x".repeat(70_000) });
    expect(tooMuch).toMatchObject({ code: "RESOURCE_EXHAUSTED", reason: "MessageTooLarge" });
    node.close();
  });

  it("refuses an operator where nodes speak", async () => {
    const context = await operator("oscar", "operator");
    const tls = credentials.createSsl(Buffer.from(context.caPem), Buffer.from(context.keyPem), Buffer.from(context.certificatePem));
    const client = new NodeSessionClient(context.endpoint, tls);
    await expect.poll(() => converse(client, Hello.fromPartial({})).then(({ reason }) => reason), { timeout: 60_000 }).toBe("NotANode");
    client.close();
  });

  it("cuts a revoked node's open session within five seconds", async () => {
    const node = new NodeSessionClient(`localhost:${ports.session}`, nodeCredentials);
    const stream = node.converse();
    const ended = new Promise<ServiceError>((resolve) => stream.on("error", resolve));
    const welcomed = new Promise((resolve) => stream.once("data", resolve));
    stream.write({ body: { $case: "hello", value: Hello.fromPartial({ processId: Buffer.alloc(16, 1) }) } });
    await welcomed;
    const startedAtMs = performance.now();
    await call(admin, "revokeNode", { node: "worker", reason: "lost" });
    const error = await ended;
    expect(status[error.code]).toBe("PERMISSION_DENIED");
    expect(performance.now() - startedAtMs).toBeLessThan(5_000);
    node.close();
  });

  it("answers /metrics, /healthz and /readyz on loopback", async () => {
    const get = async (path: string) => (await fetch(`http://127.0.0.1:${ports.metrics}${path}`)).text();
    expect(await get("/healthz")).toBe("ok\n");
    expect(await get("/readyz")).toBe("ok\n");
    expect(await get("/metrics")).toMatch(/^drover_nodes\{phase="Revoked"\} 1$/m);
  });

  it("answers grpc health checks on both ports, and lists its services by reflection", async () => {
    const context = await operator("harriet", "viewer");
    const tls = credentials.createSsl(Buffer.from(context.caPem), Buffer.from(context.keyPem), Buffer.from(context.certificatePem));
    for (const [port, service] of [
      [ports.session, "drover.v1.Operator"],
      [ports.enrolment, "drover.v1.Enrollment"],
    ] as const) {
      const client = new (makeGenericClientConstructor(health, "Health"))(`localhost:${port}`, tls);
      const check = new Promise((resolve) => {
        (client as unknown as { check(request: object, callback: (error: unknown, answer: unknown) => void): void }).check(
          { service },
          (error, answer) => resolve(error ?? answer),
        );
      });
      expect(await check).toMatchObject({ status: "SERVING" });
      client.close();
    }
    const reflected = await reflect(`localhost:${ports.session}`, tls);
    expect(reflected).toContain("drover.v1.NodeSession");
  });

  it("refuses a second process on its data, and the first one keeps its NATS", async () => {
    const record = join(dataFiles(join(directory, "data")).nats, "nats.pid.json");
    const before = await readFile(record, "utf8");
    const second = command("run");
    expect([second.status, second.stderr]).toEqual([1, expect.stringContaining("another drover-coordinator works on")]);
    expect(await readFile(record, "utf8")).toBe(before);
    process.kill((JSON.parse(before) as { pid: number }).pid, 0);
  });

  it("finds itself in order, beside the running process", () => {
    const doctor = command("doctor");
    expect(doctor.stdout).toMatch(/^ok +NATS +accepts our credentials at /m);
    expect(doctor.stdout).toMatch(/^ok +store +whole/m);
    expect(doctor.status).toBe(0);
  });

  it("tells usage errors by exit code 2, with what is wrong", () => {
    expect(command("operator create alice --role king")).toMatchObject({ status: 2 });
    expect(command("nonsense")).toMatchObject({ status: 2 });
    const refused = command("doctor --log-level loud");
    expect(refused).toMatchObject({ status: 2 });
    expect(refused.stderr).toMatch(/--log-level: log.level: must be debug, info, warn or error/);
  });

  it("ends with 0 at the first signal", async () => {
    const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    expect(await exited).toBe(0);
  });
});

/** list_services, by hand: field 7 of the request; the answer's text holds the names. */
function reflect(endpoint: string, tls: ReturnType<typeof credentials.createSsl>): Promise<string> {
  const bytes = (value: Buffer): Buffer => value;
  const codec = { requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes };
  const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
  const service = { info: { path, requestStream: true, responseStream: true, ...codec } };
  const client = new (makeGenericClientConstructor(service, "Reflection"))(endpoint, tls);
  return new Promise((resolve, reject) => {
    const stream = (client as unknown as { info(): import("@grpc/grpc-js").ClientDuplexStream<Buffer, Buffer> }).info();
    stream.once("data", (answer: Buffer) => {
      resolve(answer.toString("latin1"));
      stream.end();
      client.close();
    });
    stream.on("error", reject);
    stream.write(Buffer.from([0x3a, 0x01, 0x2a]));
  });
}

function garbage(): Promise<Answer> {
  const raw = { path: "/drover.v1.Operator/GetObject", requestStream: false, responseStream: false };
  const bytes = (value: Buffer): Buffer => value;
  const service = {
    getObject: { ...raw, requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes },
  };
  const Client = makeGenericClientConstructor(service, "Raw");
  const client = new Client("unused", credentials.createInsecure(), { channelOverride: admin.getChannel() });
  return new Promise((resolve) => {
    (client as unknown as { getObject(request: Buffer, callback: (error: ServiceError | null) => void): void }).getObject(
      Buffer.from([0xff, 0xff, 0xff]),
      (error) => resolve({ error: error ?? undefined, response: {} }),
    );
  });
}

function converse(client: NodeSessionClient, hello: Hello): Promise<{ first?: string; code?: string; reason?: string }> {
  return new Promise((resolve) => {
    const stream = client.converse();
    stream.once("data", ({ body }: { body?: { $case: string } }) => {
      resolve({ first: body?.$case ?? "" });
      stream.write({ body: { $case: "idle", value: {} } });
      stream.end();
    });
    stream.on("error", (error: ServiceError) =>
      resolve({ code: status[error.code] ?? "", reason: String(error.metadata.get("drover-reason")[0] ?? "") }),
    );
    stream.write({ body: { $case: "hello", value: hello } });
  });
}
