/**
 * A NATS that is somebody else's: one or two real servers in operator mode, with an operator's signing key, an account and its signing key,
 * and the files that an operator of NATS would hand over. Imported by tests only.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemRandom } from "@drover/lifecycle";
import { connect, jwtAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import { until } from "./bus-conformance.ts";
import { openNatsCertificate } from "./nats-certificate.ts";
import { renderNatsConfig } from "./nats-config.ts";
import { accountJwt, operatorJwt, userJwt } from "./nats-jwt.ts";
import { choosePort, findNatsServer, isServing } from "./nats-listen.ts";
import { Nkey } from "./nkey.ts";

export interface OutsideServers extends AsyncDisposable {
  readonly dir: string;
  readonly urls: readonly string[];
  readonly accountId: string;
  readonly caFile: string;
  readonly accountSigningKeyFile: string;
  readonly operatorSigningKeyFile: string;
  readonly systemUserCredsFile: string;
  readonly operatorSigningKey: Nkey;
  /** The account's JWT as its operator made it, without what was revoked since. */
  readonly accountJwt: string;
  /** With what the servers knew at first, as servers with a memory resolver start. */
  restart(index: number): Promise<void>;
  connectAs(key: Nkey, jwt: string, url?: string): Promise<NatsConnection>;
}

export interface OutsideServersOptions {
  readonly count?: number;
  /** "full": the servers keep accounts in a directory, as nsc push expects; default "memory". */
  readonly resolver?: "memory" | "full";
  /** What the account's operator lists as its signing keys, given the plain key's public half. */
  readonly signingKeys?: (plain: string) => readonly (string | object)[];
}

export async function openOutsideServers(options: OutsideServersOptions = {}): Promise<OutsideServers> {
  const dir = mkdtempSync(join(tmpdir(), "drover-outside-nats-"));
  const { count = 1, resolver = "memory", signingKeys = (plain) => [plain] } = options;
  const operator = Nkey.create("operator");
  const operatorSigningKey = Nkey.create("operator");
  const [account, signing, system] = [Nkey.create("account"), Nkey.create("account"), Nkey.create("account")];
  const systemUser = Nkey.create("user");
  const now = Date.now();
  const storage = { maxMemoryBytes: 64 * 1024 ** 2, maxDiskBytes: 2 * 1024 ** 3 };
  const droverAccount = { publicKey: account.publicKey, name: "drover", storage, revocations: {} };
  const droverJwt = accountJwt(
    operatorSigningKey,
    { ...droverAccount, signingKeys: signingKeys(signing.publicKey) as readonly string[] },
    now,
  );
  const systemJwt = accountJwt(operator, { publicKey: system.publicKey, name: "SYS", storage: undefined, revocations: {} }, now);
  const systemUserJwt = userJwt(system, system.publicKey, { publicKey: systemUser.publicKey, name: "drover" }, now);
  const certificate = await openNatsCertificate(join(dir, "tls"), ["localhost", "127.0.0.1"], now);
  const files = {
    caFile: join(dir, "ca.pem"),
    accountSigningKeyFile: join(dir, "account-signing.nk"),
    operatorSigningKeyFile: join(dir, "operator-signing.nk"),
    systemUserCredsFile: join(dir, "system.creds"),
  };
  const write = (path: string, text: string): void => writeFileSync(path, text, { mode: 0o600 });
  write(files.caFile, certificate.caPem);
  write(files.accountSigningKeyFile, `${signing.seed()}\n`);
  write(files.operatorSigningKeyFile, `${operatorSigningKey.seed()}\n`);
  write(
    files.systemUserCredsFile,
    `-----BEGIN NATS USER JWT-----\n${systemUserJwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${systemUser.seed()}\n------END USER NKEY SEED------\n`,
  );
  const places: { port: number; monitorPort: number; clusterPort: number }[] = [];
  for (let index = 0; index < count; index++) {
    const [port, monitorPort, clusterPort] = [
      await choosePort("127.0.0.1", systemRandom),
      await choosePort("127.0.0.1", systemRandom),
      await choosePort("127.0.0.1", systemRandom),
    ];
    places.push({ port, monitorPort, clusterPort });
  }
  const children: (ChildProcess | undefined)[] = [];
  const routes = places.map(({ clusterPort }) => `"nats-route://127.0.0.1:${clusterPort}"`).join(", ");

  async function start(index: number): Promise<void> {
    const { port, monitorPort, clusterPort } = places[index]!;
    const own = join(dir, `server-${index}`);
    mkdirSync(join(own, "accounts"), { recursive: true });
    let config = renderNatsConfig({
      serverName: `server-${index}`,
      host: "127.0.0.1",
      port,
      monitorPort,
      storeDir: join(own, "store"),
      ...storage,
      certificatePath: certificate.certificatePath,
      keyPath: certificate.keyPath,
      operatorJwt: operatorJwt(operator, system.publicKey, now, [operatorSigningKey.publicKey]),
      systemAccountId: system.publicKey,
      accounts: { [account.publicKey]: droverJwt, [system.publicKey]: systemJwt },
    });
    if (resolver === "full") {
      const full = `resolver { type: full, dir: "${join(own, "accounts")}", allow_delete: true, interval: "2s" }`;
      config = config.replace("resolver: MEMORY", full);
    }
    if (count > 1) config += `cluster { name: outside, host: 127.0.0.1, port: ${clusterPort}, routes: [${routes}] }\n`;
    write(join(own, "nats.conf"), config);
    const output = openSync(join(own, "nats.log"), "a", 0o600);
    children[index] = spawn(findNatsServer(undefined), ["--config", join(own, "nats.conf")], {
      stdio: ["ignore", output, output],
      env: {},
    });
    closeSync(output);
  }

  async function stop(index: number): Promise<void> {
    const child = children[index];
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  async function serving(): Promise<void> {
    for (const [index, { monitorPort }] of places.entries()) {
      await until(() => isServing(monitorPort, `server-${index}`, systemClock), 20_000);
    }
  }

  const urls = places.map(({ port }) => `tls://127.0.0.1:${port}`);
  const servers: OutsideServers = {
    dir,
    ...files,
    urls,
    accountId: account.publicKey,
    operatorSigningKey,
    accountJwt: droverJwt,
    async restart(index) {
      await stop(index);
      await start(index);
      await serving();
    },
    connectAs: (key, jwt, url = urls[0]!) =>
      connect({
        servers: url,
        tls: { ca: certificate.caPem },
        authenticator: jwtAuthenticator(jwt, Buffer.from(key.seed())),
        reconnect: false,
        ignoreClusterUpdates: true,
      }),
    async [Symbol.asyncDispose]() {
      for (const index of places.keys()) await stop(index);
      rmSync(dir, { recursive: true, force: true });
    },
  };
  try {
    for (const index of places.keys()) await start(index);
    await serving();
    return servers;
  } catch (error) {
    await servers[Symbol.asyncDispose]();
    throw error;
  }
}
