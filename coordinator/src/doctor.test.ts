import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Secret, systemClock, systemRandom, VirtualClock } from "@drover/lifecycle";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { choosePort } from "./bus/nats-listen.ts";
import { Nkey } from "./bus/nkey.ts";
import { openOutsideServers, type OutsideServers, type OutsideServersOptions } from "./bus/outside-nats-testbed.ts";
import { openSecretBox } from "./cluster/secret-key-file.ts";
import { type Config, loadConfig, type NatsConfig } from "./config/config.ts";
import { dataFiles } from "./data-files.ts";
import { examine } from "./doctor.ts";
import { renderFindings } from "./finding.ts";
import { openAuthority } from "./identity/authority.ts";
import { createOperator } from "./identity/operators.ts";
import { keys } from "./store/keys.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";
import { putJson } from "./store/values.ts";

let directory: string;
let config: Config;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "drover-doctor-"));
  const file = join(directory, "coordinator.yaml");
  const listen = `listen: {session: "127.0.0.1:0", enrolment: "127.0.0.1:0", metrics: "127.0.0.1:0"}`;
  writeFileSync(file, `dataDir: ${join(directory, "data")}\n${listen}\nadvertise: {hosts: [localhost]}\nnats: {embedded: {port: 0}}\n`);
  const loading = loadConfig(file);
  if (!loading.ok) throw new Error("the configuration is refused");
  config = loading.config;
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** What a coordinator that served and stopped leaves behind, as far as doctor looks at it. */
async function lived(): Promise<ReturnType<typeof dataFiles>> {
  const files = dataFiles(config.dataDir);
  mkdirSync(files.root, { mode: 0o700 });
  const authority = await openAuthority(files.authority, systemClock);
  const store = openSqliteStore(files.store);
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  await createOperator(
    { store, authority, clock: systemClock, random: systemRandom },
    { name: "ann", role: "admin", publicKey, actor: "coordinator" },
  );
  await store.close();
  return files;
}

async function findings(nats?: NatsConfig, clock = systemClock): Promise<Record<string, string>> {
  const found = await examine(nats === undefined ? config : { ...config, nats }, clock);
  return Object.fromEntries(found.map(({ check, outcome, message, next }) => [check, [outcome, message, next].join(" | ")]));
}

describe("doctor", () => {
  it("finds a place in order before the first start, and after it", async () => {
    expect(Object.values(await findings()).every((text) => text.startsWith("ok"))).toBe(true);
    await lived();
    expect(Object.values(await findings()).every((text) => text.startsWith("ok"))).toBe(true);
  });

  const broken: readonly [string, string, (files: ReturnType<typeof dataFiles>) => void, RegExp][] = [
    ["a store that was cut off", "store", ({ store }) => truncateSync(store, 0), /^failed \| .*0 bytes: it was cut off.* \| .*last backup/],
    [
      "a store that is damaged",
      "store",
      ({ store }) => truncateSync(store, 5000),
      /^failed \| .*(damaged|malformed).*restore it from a backup/s,
    ],
    ["a store that is gone", "store", ({ store }) => rmSync(store), /^failed \| .*is gone.*knows no node \| .*last backup/],
    ["a data directory open to others", "data directory", ({ root }) => chmodSync(root, 0o755), /^failed \| .*mode 755.* \| chmod 0700 /],
    ["a CA open to others", "certificate authority", ({ authority }) => chmodSync(join(authority, "ca-1.pem"), 0o644), /\| chmod 0600 /],
    ["a CA that is none", "certificate authority", ({ authority }) => writeFileSync(join(authority, "ca-1.pem"), "x"), /restore it from/],
  ];

  it("opens what is stored encrypted, and says what to do when the key file is another, open to others, cut off or gone", async () => {
    const files = await lived();
    const key = keys.secret("kubeconfig", "prod");
    const { box } = openSecretBox(files.secretKey);
    const store = openSqliteStore(files.store);
    await store.commit([putJson(key, box.seal(key, new Secret("canary-kubeconfig")))]);
    await store.close();
    const found = async (): Promise<string> => (await findings())["stored secrets"] ?? "not looked at";
    expect(await found()).toMatch(/^ok \| .*secrets\.key, key [0-9a-f]{16}, opens all 1 that are stored/);

    chmodSync(files.secretKey, 0o644);
    expect(await found()).toMatch(/^failed \| .*mode 644.*chmod 0600/s);
    chmodSync(files.secretKey, 0o600);
    truncateSync(files.secretKey, 5);
    expect(await found()).toMatch(/^failed \| .*has 5 bytes.*\| put it back from its backup/);
    rmSync(files.secretKey);
    expect(await found()).toMatch(/^failed \| .*is gone, and 1 kubeconfigs .* \| put it back from its backup; without one, adopt/);
    openSecretBox(files.secretKey);
    expect(await found()).toMatch(/^failed \| secrets\/kubeconfig\/prod was encrypted with key [0-9a-f]{16}, and .* holds key /);
    expect(Object.values(await findings()).join()).not.toContain("canary");
  });

  it.each(broken)("says what is wrong with %s, why, and what next", async (_what, check, breakIt, expected) => {
    const files = await lived();
    breakIt(files);
    const before = await findings();
    expect(before[check]).toMatch(expected);
    expect((await findings())[check]).toBe(before[check]);
  });

  it("tells a clock that is before the program, and one before what was written here", async () => {
    await lived();
    expect((await findings(undefined, new VirtualClock(0)))["clock"]).toMatch(
      /^failed \| 1970.*certificates made now would be void \| set the clock/,
    );
    const hourAgo = new VirtualClock(Date.now() - 3_600_000);
    expect((await findings(undefined, hourAgo))["clock"]).toMatch(/^failed \| .*is before what was written here already/);
  });

  it("tells ports that are taken, addresses that are not ours, and a server program that is missing", async () => {
    const port = await choosePort("127.0.0.1", systemRandom);
    const other = createServer().listen(port, "127.0.0.1");
    await once(other, "listening");
    config = { ...config, listen: { ...config.listen, session: { host: "127.0.0.1", port }, metrics: { host: "192.0.2.1", port: 1 } } };
    const found = await findings({ kind: "embedded", port, program: "/nowhere/nats-server" });
    other.close();
    expect(found["ports"]).toMatch(
      /listen.session .* is taken by another program; listen.metrics .* is no address of this machine \| see who has it/,
    );
    expect(found["NATS"]).toMatch(/^failed \| .*is not our nats-server/);
    expect(found["nats-server"]).toMatch(/^failed \| .*\/nowhere\/nats-server: install it/);
  });

  it("renders what is to be done under what was found, and sums up", () => {
    const lines = renderFindings([
      { check: "a", outcome: "ok", message: "fine" },
      { check: "bb", outcome: "failed", message: "one\ntwo", next: "do it" },
    ]);
    expect(lines).toEqual([
      "ok       a   fine",
      "FAILED   bb  one",
      "             two",
      "             next: do it",
      "",
      "2 checks: 1 failed, 0 with a warning",
    ]);
  });
});

describe("doctor, of an outside NATS", () => {
  async function outside(options: OutsideServersOptions, change: (servers: OutsideServers) => object = () => ({})) {
    await using servers = await openOutsideServers(options);
    const { urls, accountId, accountSigningKeyFile, systemUserCredsFile, operatorSigningKeyFile, caFile } = servers;
    const files = { accountSigningKeyFile, systemUserCredsFile, operatorSigningKeyFile, caFile };
    return await findings({ kind: "outside", urls, accountId, ...files, ...change(servers) });
  }

  it("finds a cluster with a full resolver and the operator's key in order", async () => {
    const found = await outside({ count: 2, resolver: "full" });
    expect(Object.entries(found).filter(([, text]) => !text.startsWith("ok"))).toEqual([]);
    expect(found["NATS system user"]).toMatch(/2 of 2 servers answer: .*server-1 2\./);
    expect(found["NATS revocation"]).toMatch(/at once, and stay out over restarts/);
  });

  it("says plainly that a revoked node cannot be cut at once without the operator's key, and that memory forgets", async () => {
    expect((await outside({}, () => ({ operatorSigningKeyFile: undefined })))["NATS revocation"]).toMatch(
      /^warning \| a revoked node CANNOT be cut from NATS at once.* 7 days \| hand over nats.outside.operatorSigningKeyFile, or run nsc/,
    );
    expect((await outside({}))["NATS revocation"]).toMatch(/^warning \| .*keep accounts in memory/);
  });

  it("tells a key that is no operator's, files open to others, and an account that does not know the signing key", async () => {
    const found = await outside({ signingKeys: () => [] }, ({ dir, accountSigningKeyFile }) => {
      const stranger = join(dir, "stranger.nk");
      writeFileSync(stranger, Nkey.create("operator").seed(), { mode: 0o600 });
      chmodSync(accountSigningKeyFile, 0o644);
      return { operatorSigningKeyFile: stranger };
    });
    expect(found["NATS files"]).toMatch(/^failed \| .*mode 644.* \| chmod 0600/);
    expect(found["NATS user"]).toMatch(/^failed/);
    expect(found["NATS system user"]).toMatch(/^ok/);
  });

  it("tells a signing key with a scope", async () => {
    const scope = (key: string) => [
      { kind: "user_scope", key, role: "nodes", template: { pub: {}, sub: {}, subs: -1, data: -1, payload: -1 } },
    ];
    const found = await outside({ resolver: "full", signingKeys: scope });
    expect(found["NATS account"]).toMatch(/^failed \| .*has a scope .* \| add a plain key: nsc edit account/);
  });
});
