/** I6: while a machine enrols, takes a plan and is asked for logs, secrets are nowhere but in the files that are meant to hold them. */
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { filesUnder, findings, PIECE_LENGTH, type Places, secretsIn, watchProcesses } from "../testbed/secret-watch.ts";
import { nodeProgram, Site } from "../testbed/site.ts";

const agentMain = fileURLToPath(new URL("../../agent/src/main.ts", import.meta.url));
const apiVersion = "drover.dev/v1alpha1";
/** Private keys of the coordinator's CA, of NATS and of the operator; seeds of NATS' operator, accounts and users; the node's identity. */
const HOLDERS = [
  "coordinator/ca/ca-1.pem",
  "coordinator/nats-trust/nats-ca.key",
  "coordinator/nats-trust/nats-seeds.json",
  "coordinator/nats-trust/nats-server.key",
  "drover.yaml",
  "machines/holder/var-lib/drover-agent/identity.json",
];

let site: Site;
let machine: LightMachine;
let joinToken: string;
let seenInProcesses: Places;

/** As Site's machines, but the join token is kept for us to look for. */
async function enrol(name: string): Promise<void> {
  const created = await site.mustDrover(["token", "create", "-o", "json", "--label", "role=web"]);
  const token = JSON.parse(created) as { joinToken: string; caPin: string; endpoint: string };
  joinToken = token.joinToken;
  machine = await site.bed.addLightMachine(name);
  await machine.writeFile("/etc/drover/join-token", `${token.joinToken}\n`, 0o600);
  await machine.writeFile(
    "/etc/drover/agent.yaml",
    stringify({ coordinator: token.endpoint, caPin: token.caPin, name, logLevel: "debug" }),
  );
  await machine.addService("drover-agent", `exec ${nodeProgram} ${agentMain} run --config /etc/drover/agent.yaml\n`);
}

beforeAll(async () => {
  const over = new AbortController();
  const watched = watchProcesses(over.signal);
  try {
    site = await Site.make();
    await enrol("holder");
    const manifest = await site.manifest(
      "web",
      { apiVersion, kind: "NodeProfile", metadata: { name: "web" }, spec: { sysctl: { values: { "net.core.somaxconn": "4096" } } } },
      { apiVersion, kind: "NodeSet", metadata: { name: "web" }, spec: { selector: { matchLabels: { role: "web" } }, profile: "web" } },
    );
    await site.mustDrover(["apply", "-f", manifest]);
    await site.mustDrover(["rollout", "status", "web-1", "--progress", "--timeout", "60s"]);
    await site.mustDrover(["logs", "holder"]);
    await eventually(
      "the join token's file is gone",
      10_000,
      async () => (await machine.run("test", ["-e", "/etc/drover/join-token"])).exitCode !== 0,
    );
  } finally {
    over.abort();
    seenInProcesses = await watched;
  }
}, 120_000);

afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
});

describe("I6: secrets", () => {
  it("lie in the files that are meant to hold them and in no other, each for its owner alone", async () => {
    const files = await filesUnder(site.bed.directory);
    const holders = [...files].filter(([, text]) => secretsIn(text).length > 0).map(([path]) => path);
    expect(holders.toSorted()).toEqual(HOLDERS);
    for (const holder of holders) {
      const path = join(site.bed.directory, holder);
      expect([holder, ((await stat(path)).mode & 0o777).toString(8), ((await stat(dirname(path))).mode & 0o077).toString(8)]).toEqual([
        holder,
        "600",
        "0",
      ]);
    }
  });

  it("are in no log, argument, environment, store, report, NATS file or outbox, not even in part", async () => {
    const files = await filesUnder(site.bed.directory);
    const secrets = new Map([
      [joinToken, "the join token"],
      [joinToken.split(".")[1]!, "the join token's secret half"],
    ]);
    for (const holder of HOLDERS) for (const secret of secretsIn(files.get(holder)!)) secrets.set(secret, holder);
    // The CA's and the operator's key, NATS' two and its seeds, the node's key and seed.
    expect(secrets.size).toBeGreaterThanOrEqual(2 + 4 + 3 + 2);
    const elsewhere = new Map([...files].filter(([path]) => !HOLDERS.includes(path)));
    expect([...elsewhere.keys()]).toEqual(
      expect.arrayContaining(["coordinator.log", "coordinator/store.db", "coordinator/reports.db", "machines/holder/drover-agent.log"]),
    );
    for (const folder of ["coordinator/nats/", "machines/holder/var-lib/drover-agent/"])
      expect([...elsewhere.keys()].some((path) => path.startsWith(folder))).toBe(true);
    expect(seenInProcesses.size).toBeGreaterThan(20);
    expect(findings(new Map([...elsewhere, ...seenInProcesses]), secrets)).toEqual([]);
  });

  it("would be found: a planted one is, also folded into lines", async () => {
    const planted = join(site.bed.directory, "planted.log");
    const key = (await readFile(join(site.bed.directory, HOLDERS[0]!), "utf8")).split("-----")[2]!.replaceAll("\n", "");
    await writeFile(planted, `{"pem":"${key.replace(/.{20}/g, "$&\\n")}","token":"${joinToken}"}`);
    const secrets = new Map([
      [joinToken, "the join token"],
      [key.replace(/=+$/, "").slice(-PIECE_LENGTH), "the CA"],
    ]);
    const found = findings(await filesUnder(site.bed.directory), secrets).filter((finding) => finding.startsWith("planted.log"));
    await rm(planted);
    expect(found).toEqual(["planted.log has the secret of the join token", "planted.log has the secret of the CA"]);
  });
});
