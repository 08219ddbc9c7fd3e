/** Identity on a whole site: real coordinator, real NATS, real sockets. What must not be sent, what ends, and what goes on undisturbed. */
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { createPublicKey } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NodeCredential } from "@drover/proto";
import { systemClock } from "@drover/lifecycle";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { identityOf, IdentityStore } from "../../agent/src/session/identity.ts";
import { FileStateDirectory } from "../../agent/src/state/index.ts";
import { dataFiles } from "../../coordinator/src/data-files.ts";
import { nodeUri } from "../../coordinator/src/identity/authority.ts";
import { CertificateAuthority, CLIENT_AUTH, DAY_MS } from "../../coordinator/src/identity/certificate-authority.ts";
import type { NodeRecord } from "../../coordinator/src/records.ts";
import { readReports } from "../../coordinator/src/reportlog/report-count.ts";
import { openSqliteReportLog } from "../../coordinator/src/reportlog/sqlite-report-log.ts";
import { keys } from "../../coordinator/src/store/keys.ts";
import { openSqliteStore } from "../../coordinator/src/store/sqlite-store.ts";
import { putJson, readJson } from "../../coordinator/src/store/values.ts";
import { eventually } from "../testbed/program.ts";
import { nodeProgram, Site } from "../testbed/site.ts";
import { type Actions, askLaboratory, type Ending, type JoinToken } from "./identity/ask.ts";

const laboratory = fileURLToPath(new URL("./identity/laboratory.ts", import.meta.url));
const agentMain = fileURLToPath(new URL("../../agent/src/main.ts", import.meta.url));
const REVOKED_WITHIN_MS = 5_000;

let site: Site;
let directory: string;
/** One that nobody spends; it says where the coordinator is and what its CA is. */
let unspent: JoinToken;
const nodeIds = new Map<string, string>();

const ask = <A extends keyof Actions>(action: A, asked: Actions[A]["asked"]): Promise<Actions[A]["answer"]> =>
  askLaboratory(directory, action, asked);

async function joinToken(): Promise<JoinToken> {
  return JSON.parse(await site.mustDrover(["token", "create", "-o", "json"])) as JoinToken;
}

async function enrol(name: string): Promise<void> {
  const ending = await ask("enrol", { name, token: await joinToken() });
  if (ending.kind !== "done") throw new Error(`${name}: ${ending.reason}: ${ending.message}`);
  nodeIds.set(name, ending.nodeId);
}

beforeAll(async () => {
  site = await Site.make();
  directory = join(site.bed.directory, "laboratory");
  await mkdir(directory);
  const program = await site.bed.spawn(nodeProgram, [laboratory, directory], join(site.bed.directory, "laboratory.log"));
  await eventually("the laboratory answers", 60_000, async () => (await ask("recorded", { port: 0 })).bytes === 0).catch(async (error) => {
    throw new Error(await program.log(), { cause: error });
  });
  unspent = await joinToken();
  await Promise.all(["revoked", "other", "expired", "expired-and-revoked"].map(enrol));
  await expireCertificates(["expired", "expired-and-revoked"]);
  // Once and for all: a second session of the same node would be a clone's.
  for (const name of ["revoked", "other"]) expect(await ask("open", { name })).toMatchObject({ kind: "done" });
}, 120_000);

afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
});

describe.concurrent("a machine that meets another CA than the one it pins", () => {
  it.each([
    ["with a chain of its own", async () => ""],
    ["that sends the pinned CA's certificate along", async () => caCertificate()],
  ])("sends no byte of its join token to an impostor %s", async (title, chain) => {
    const { port } = await ask("impostor", { host: site.bed.address, caPem: await chain() });
    const token = unspent;
    const home = join(site.bed.directory, title.replaceAll(/\W/g, "-"));
    await mkdir(home);
    const joinTokenFile = join(home, "join-token");
    await writeFile(joinTokenFile, `${token.joinToken}\n`, { mode: 0o600 });
    const config = { coordinator: `${site.bed.address}:${port}`, caPin: token.caPin, joinTokenFile, stateDir: join(home, "state") };
    await writeFile(join(home, "agent.yaml"), stringify(config));
    const agent = await site.bed.spawn(nodeProgram, [agentMain, "run", "--config", join(home, "agent.yaml")], join(home, "log"));
    try {
      await eventually("the agent has refused", 60_000, async () => (await agent.log()).includes("CaPinMismatch"));
      const { handshakes, bytes } = await ask("recorded", { port });
      expect([handshakes > 0, bytes]).toEqual([true, 0]);
      expect((await readFile(joinTokenFile, "utf8")).trim()).toBe(token.joinToken);
      expect(await agent.log()).not.toContain(token.joinToken.split(".")[1]);
    } finally {
      await agent.stop();
    }
  });
});

describe("an expired certificate", () => {
  it("opens nothing, recovers once, and then opens session and NATS again", async () => {
    expect(await ask("open", { name: "expired" })).toMatchObject({ kind: "refused" });
    await cp(join(directory, "expired"), join(directory, "copied"), { recursive: true });
    const { endpoint } = unspent;
    expect(await ask("recover", { name: "expired", endpoint })).toEqual({ kind: "done", nodeId: nodeIds.get("expired") });
    expect(await ask("open", { name: "expired" })).toEqual({ kind: "done", nodeId: nodeIds.get("expired") });
    expect(await ask("recover", { name: "copied", endpoint })).toMatchObject({ kind: "refused", reason: "AlreadyRecovered" });
    expect(await site.mustDrover(["audit"])).toMatch(/Recover\s+Node\/expired\s+ok/);
  });

  it("never recovers once the node is revoked", async () => {
    await site.mustDrover(["node", "revoke", "expired-and-revoked", "--reason", "stolen"]);
    const { endpoint } = unspent;
    for (let tries = 0; tries < 2; tries += 1) {
      expect(await ask("recover", { name: "expired-and-revoked", endpoint })).toMatchObject({ kind: "refused", reason: "Revoked" });
    }
  });
});

describe("a report in another node's name", () => {
  it("is refused and audited, and is never in the log as that node's", async () => {
    const [own, victim] = [nodeIds.get("other")!, nodeIds.get("expired")!];
    await ask("report", { name: "other", bodyNode: victim, subjectNode: own, marker: "forged body" });
    await ask("report", { name: "other", bodyNode: victim, subjectNode: victim, marker: "forged subject" });
    await ask("report", { name: "other", bodyNode: own, subjectNode: own, marker: "honest" });
    await eventually("the honest report is logged", 60_000, async () => (await markers()).some(({ marker }) => marker === "honest"));
    expect((await markers()).filter(({ marker }) => marker.startsWith("forged"))).toEqual([]);
    expect((await markers()).filter(({ nodeId }) => nodeId === victim)).toEqual([]);
    await eventually("the refusal is audited", 60_000, async () =>
      (await site.mustDrover(["audit", "--actor", `node:${own}`])).includes("ReportRefused"),
    );
    expect((await ask("lines", { name: "other" })).violations).toBeGreaterThan(0);
  });
});

describe("drover node revoke", () => {
  it(`cuts the node's NATS connection and its session within ${REVOKED_WITHIN_MS} ms, for good, and disturbs no other`, async () => {
    const before = await ask("lines", { name: "other" });
    const { natsEndedAtMs, sessionEndedAtMs } = await ask("lines", { name: "revoked" });
    expect([natsEndedAtMs, sessionEndedAtMs, before.natsEndedAtMs, before.sessionEndedAtMs]).toEqual(Array(4).fill(undefined));
    const startedAtMs = Date.now();
    await site.mustDrover(["node", "revoke", "revoked", "--reason", "sold"]);
    const ended = await eventually("both lines are cut", 60_000, async () => {
      const lines = await ask("lines", { name: "revoked" });
      return lines.natsEndedAtMs !== undefined && lines.sessionEndedAtMs !== undefined && lines;
    });
    expect(Math.max(ended.natsEndedAtMs!, ended.sessionEndedAtMs!) - startedAtMs).toBeLessThan(REVOKED_WITHIN_MS);
    expect(await ask("open", { name: "revoked" })).toMatchObject({ kind: "refused" });
    expect(await ask("lines", { name: "other" })).toEqual(before);
    const ending: Ending = await ask("recover", { name: "revoked", endpoint: unspent.endpoint });
    expect(ending).toMatchObject({ kind: "refused", reason: "Revoked" });
  });
});

async function markers(): Promise<readonly { readonly nodeId: string; readonly marker: string }[]> {
  const log = openSqliteReportLog(dataFiles(site.dataDirectory).reportLog);
  try {
    const found = [];
    for await (const { nodeId, batch } of readReports(log)) {
      for (const { body } of batch.events) if (body?.$case === "agentStarted") found.push({ nodeId, marker: body.value.agentVersion });
    }
    return found;
  } finally {
    await log.close();
  }
}

/** The first certificate authority of the site: its own and only one. */
async function authorityFile(): Promise<string> {
  return readFile(join(dataFiles(site.dataDirectory).authority, "ca-1.pem"), "utf8");
}

async function caCertificate(): Promise<string> {
  const pem = await authorityFile();
  return pem.slice(pem.indexOf("-----BEGIN CERTIFICATE"));
}

/** As if a day had passed since the end of their certificates: in the nodes' hands and in the coordinator's records. */
async function expireCertificates(names: readonly string[]): Promise<void> {
  await site.coordinator.stop();
  const ca = await CertificateAuthority.load(await authorityFile());
  const store = openSqliteStore(dataFiles(site.dataDirectory).store, { clock: systemClock });
  try {
    for (const name of names) {
      const nodeId = nodeIds.get(name)!;
      const identities = new IdentityStore(await FileStateDirectory.open(join(directory, name)));
      const identity = (await identities.load())!;
      const profile = { commonName: nodeId, names: [{ type: "url" as const, value: nodeUri(nodeId) }], usage: CLIENT_AUTH, lifeMs: DAY_MS };
      const leaf = await ca.issue(createPublicKey(identity.keys.privateKeyPem.reveal()), profile, Date.now() - 2 * DAY_MS);
      const credential = NodeCredential.fromPartial({ ...identity.credential, certificateChain: [...leaf.chain] });
      await identities.save(identityOf(nodeId, identity.keys, credential));
      const entry = (await store.get(keys.node(nodeId)))!;
      const record = { ...(readJson(entry) as NodeRecord), certificateSerial: leaf.serial, certificateNotAfterMs: leaf.notAfterMs };
      const committed = await store.commit([putJson(entry.key, record, entry.revision)]);
      if (!committed.ok) throw new Error(`${name}'s record could not be changed`);
    }
  } finally {
    await store.close();
  }
  await site.startCoordinator();
}
