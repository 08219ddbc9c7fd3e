import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { silentLog, systemClock, systemRandom } from "@drover/lifecycle";
import { subjects } from "@drover/proto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "./bus-conformance.ts";
import { NatsBus } from "./nats-bus.ts";
import { userJwt } from "./nats-jwt.ts";
import { Nkey } from "./nkey.ts";
import { type OutsideNats, openOutsideNats } from "./outside-nats.ts";
import { type OutsideServers, openOutsideServers } from "./outside-nats-testbed.ts";

const NODE = "aaaaaaaaaa";
const OTHER = "bbbbbbbbbb";

function outsideOf(servers: OutsideServers, name: string, options: { readonly hasOperatorKey: boolean }): OutsideNats {
  const { urls, accountId, caFile, accountSigningKeyFile, systemUserCredsFile, operatorSigningKeyFile, dir } = servers;
  return openOutsideNats({
    urls,
    accountId,
    caFile,
    accountSigningKeyFile,
    systemUserCredsFile,
    operatorSigningKeyFile: options.hasOperatorKey ? operatorSigningKeyFile : undefined,
    trustDir: join(dir, name),
    clock: systemClock,
    log: silentLog,
  });
}

function nodeJwt(nats: OutsideNats, key: Nkey, nodeId = NODE): string {
  return nats.issueUserJwt({ nodeId, publicKey: key.publicKey, notAfterMs: Date.now() + 3_600_000 });
}

describe.each(["memory", "full"] as const)("an outside cluster of two with a %s resolver", (resolver) => {
  let servers: OutsideServers;
  let nats: OutsideNats;
  beforeAll(async () => {
    servers = await openOutsideServers({ count: 2, resolver });
    nats = outsideOf(servers, "trust", { hasOperatorKey: true });
  });
  afterAll(() => servers[Symbol.asyncDispose]());

  it("carries beats and reports from nodes on either server to the coordinator's bus", async () => {
    const stop = new AbortController();
    const bus = new NatsBus({
      urls: nats.busUrls,
      caPem: nats.caPem,
      user: () => nats.coordinatorUser(),
      revokeUser: (publicKey, atMs) => nats.revokeUser(publicKey, atMs),
      reportsMaxBytes: 16 * 1024 ** 2,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    const beats = new Set<string | undefined>();
    const reports = new Set<string>();
    const running = Promise.all([
      bus.run(stop.signal),
      bus.consumeHeartbeats((batch) => batch.forEach(({ nodeId }) => beats.add(nodeId)), stop.signal),
      bus.consumeReports(undefined, async ({ messages }) => messages.forEach(({ nodeId }) => reports.add(nodeId)), stop.signal),
    ]);
    for (const [index, nodeId] of [NODE, OTHER].entries()) {
      const key = Nkey.create("user");
      const node = await servers.connectAs(key, nodeJwt(nats, key, nodeId), servers.urls[index]);
      await until(() => {
        node.publish(subjects.heartbeat(nodeId), "x");
        node.publish(subjects.report(nodeId), "x");
        return beats.has(nodeId) && reports.has(nodeId);
      });
      await node.close();
    }
    stop.abort();
    await running;
  });

  it("cuts a revoked node on every server within 5 s, keeps it out, and disturbs nobody else", async () => {
    const [key, otherKey] = [Nkey.create("user"), Nkey.create("user")];
    const jwt = nodeJwt(nats, key);
    const revoked = await servers.connectAs(key, jwt, servers.urls[1]);
    const other = await servers.connectAs(otherKey, nodeJwt(nats, otherKey, OTHER), servers.urls[1]);
    const startedMs = performance.now();
    await nats.revokeUser(key.publicKey, Date.now());
    await until(() => revoked.isClosed(), 5_000);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    expect(other.isClosed()).toBe(false);
    await other.flush();
    await other.close();
    for (const url of servers.urls) await expect(servers.connectAs(key, jwt, url)).rejects.toThrow();
  });

  it("tells a server that restarted what it has forgotten", async () => {
    const key = Nkey.create("user");
    const jwt = nodeJwt(nats, key);
    await nats.revokeUser(key.publicKey, Date.now());
    await servers.restart(1);
    const stop = new AbortController();
    // What a restarted coordinator does: it reads its list and looks at the servers at once.
    const running = outsideOf(servers, "trust", { hasOperatorKey: true }).run(stop.signal);
    await until(async () => {
      const connection = await servers.connectAs(key, jwt, servers.urls[1]).catch(() => undefined);
      await connection?.close();
      return connection === undefined;
    });
    stop.abort();
    await running;
  });

  it("without the operator's key says what only the operator of NATS can do, and sees when it was done", async () => {
    const keyless = outsideOf(servers, "keyless", { hasOperatorKey: false });
    const key = Nkey.create("user");
    const node = await servers.connectAs(key, nodeJwt(keyless, key));
    const refusal = keyless.revokeUser(key.publicKey, Date.now());
    await expect(refusal).rejects.toThrow(`nsc revocations add-user --account drover --user-public-key ${key.publicKey} && nsc push`);
    expect(node.isClosed()).toBe(false);
    // As nsc would, by the operator's own hand.
    await outsideOf(servers, "by-hand", { hasOperatorKey: true }).revokeUser(key.publicKey, Date.now());
    await until(() => node.isClosed());
    await keyless.revokeUser(key.publicKey, Date.now());
  });

  it("refuses claims by a key that is no operator's, and the servers stay as they are", async () => {
    const strangerFile = join(servers.dir, "stranger.nk");
    writeFileSync(strangerFile, Nkey.create("operator").seed(), { mode: 0o600 });
    const stranger = outsideOf({ ...servers, operatorSigningKeyFile: strangerFile }, "stranger", { hasOperatorKey: true });
    const key = Nkey.create("user");
    await expect(stranger.revokeUser(key.publicKey, Date.now())).rejects.toThrow();
    expect((await servers.connectAs(key, nodeJwt(nats, key))).isClosed()).toBe(false);
  });

  it("lets nobody in whose JWT another account's key has signed", async () => {
    const [stranger, key] = [Nkey.create("account"), Nkey.create("user")];
    const jwt = userJwt(stranger, servers.accountId, { publicKey: key.publicKey, name: "x" }, Date.now());
    await expect(servers.connectAs(key, jwt)).rejects.toThrow();
  });
});

describe("the files of an outside cluster", () => {
  it("are refused by name when they hold something else, and never printed", async () => {
    await using servers = await openOutsideServers({ count: 1 });
    const secret = Nkey.create("user").seed();
    const wrong = join(servers.dir, "wrong");
    writeFileSync(wrong, secret, { mode: 0o600 });
    const open = (change: object) => () => outsideOf({ ...servers, ...change }, "trust", { hasOperatorKey: true });
    for (const file of ["accountSigningKeyFile", "operatorSigningKeyFile", "systemUserCredsFile"]) {
      expect(open({ [file]: wrong })).toThrow(`nats.outside.${file}: ${wrong} `);
      expect(open({ [file]: wrong })).not.toThrow(secret);
      expect(open({ [file]: join(servers.dir, "absent") })).toThrow("cannot be read: ENOENT");
    }
  });
});
