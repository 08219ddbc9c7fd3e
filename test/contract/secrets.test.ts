/** I6: while a machine enrols, takes a plan and is asked for logs, secrets are nowhere but in the files that are meant to hold them. */
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { nodeProgram, Site } from "../testbed/site.ts";

const agentMain = fileURLToPath(new URL("../../agent/src/main.ts", import.meta.url));
const apiVersion = "drover.dev/v1alpha1";
const LOOK_EVERY_MS = 10;
/** Of a key's text: a part of it somewhere is as bad as the whole, and no shorter part is there by chance. */
const PIECE_LENGTH = 40;
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
/** What it was, with a hint at whose it is, to all that was seen in it. */
const seenInProcesses = new Map<string, string>();

/** Arguments and environments of all that runs, again and again: a secret may be there for a moment only. */
async function watchProcesses(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const pid of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
      for (const what of ["cmdline", "environ"]) {
        const text = await readFile(`/proc/${pid}/${what}`, "latin1").catch(() => "");
        if (text !== "") seenInProcesses.set(`${what} of ${pid}: ${text.slice(0, 120).replaceAll("\0", " ")}`, text);
      }
    }
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_EVERY_MS);
    });
  }
}

/** Without what folds a key into lines: blanks, and line ends as JSON writes them. */
function unfolded(text: string): string {
  return text.replaceAll("\\n", "").replace(/\s+/g, "");
}

/** A piece of every private key in PEM, and every nkey seed. */
function secretsIn(text: string): string[] {
  const keys = [...unfolded(text).matchAll(/-----BEGIN[A-Z]*PRIVATEKEY-----([A-Za-z0-9+/=]+)-----END/g)].map((match) =>
    match[1]!.replace(/=+$/, "").slice(-PIECE_LENGTH),
  );
  return [...keys, ...(text.match(/\bS[OAU][A-Z2-7]{56}\b/g) ?? [])];
}

/** Every file under the bed, as text, by its path in it: machines' disks, logs, stores, the report log, NATS' data, outboxes. */
async function filesOfSite(): Promise<ReadonlyMap<string, string>> {
  const entries = await readdir(site.bed.directory, { withFileTypes: true, recursive: true });
  const texts = new Map<string, string>();
  for (const entry of entries.filter((each) => each.isFile())) {
    const path = join(entry.parentPath, entry.name);
    texts.set(relative(site.bed.directory, path), await readFile(path, "latin1").catch(() => ""));
  }
  return texts;
}

/** @returns "name: which secret" for each place in which a secret is */
function findings(places: ReadonlyMap<string, string>, secrets: ReadonlyMap<string, string>): string[] {
  return [...places].flatMap(([place, text]) => {
    const plain = unfolded(text);
    return [...secrets].filter(([secret]) => plain.includes(secret)).map(([, whose]) => `${place} has the secret of ${whose}`);
  });
}

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
    await watched;
  }
}, 120_000);

afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
});

describe("I6: secrets", () => {
  it("lie in the files that are meant to hold them and in no other, each for its owner alone", async () => {
    const files = await filesOfSite();
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
    const files = await filesOfSite();
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
    const found = findings(await filesOfSite(), secrets).filter((finding) => finding.startsWith("planted.log"));
    await rm(planted);
    expect(found).toEqual(["planted.log has the secret of the join token", "planted.log has the secret of the CA"]);
  });
});
