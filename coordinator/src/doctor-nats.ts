/** The part of doctor that looks at NATS: the embedded server, or somebody else's cluster. */
import { access, constants, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, silentLog, sleep, systemRandom, withDeadline } from "@drover/lifecycle";
import { subjects } from "@drover/proto";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, jwtAuthenticator } from "@nats-io/transport-node";
import { openEmbeddedNats } from "./bus/embedded-nats.ts";
import { NatsBus } from "./bus/nats-bus.ts";
import { type AccountClaims, readAccountJwt } from "./bus/nats-jwt.ts";
import { findNatsServer, isFree } from "./bus/nats-listen.ts";
import { isAlive, readRecord } from "./bus/nats-process.ts";
import { type AccountView, asSystem, trustedOperatorKeys, viewAccount } from "./bus/nats-system.ts";
import type { NatsUser } from "./bus/nats-trust.ts";
import { Nkey } from "./bus/nkey.ts";
import { newestOf, openOutsideNats, type OutsideNats } from "./bus/outside-nats.ts";
import type { Config, NatsConfig } from "./config/config.ts";
import type { DataFiles } from "./data-files.ts";
import { failed, type Finding, type Found, guarded, ok, warning } from "./finding.ts";

const CONNECT_DEADLINE_MS = 5_000;
const SYSTEM_DEADLINE_MS = 10_000;
const PROBE_LIFE_MS = 60_000;
/** REPORTS, as the bus makes it. */
const NEEDED_DISK_BYTES = 1024 ** 3;
const NEEDED_STREAMS = 2;
const CLOCK_TOLERANCE_MS = 60_000;

type EmbeddedConfig = Extract<NatsConfig, { kind: "embedded" }>;
type OutsideConfig = Extract<NatsConfig, { kind: "outside" }>;

export async function examineNats(config: Config, files: DataFiles, clock: Clock): Promise<readonly Finding[]> {
  return config.nats.kind === "outside" ? examineOutside(config.nats, files, clock) : examineEmbedded(config, config.nats, files, clock);
}

async function examineEmbedded(config: Config, configured: EmbeddedConfig, files: DataFiles, clock: Clock): Promise<readonly Finding[]> {
  const program = await guarded("nats-server", async () => ok(findNatsServer(configured.program)));
  const server = await guarded("NATS", async () => {
    const { host } = config.listen.session;
    if (!(await exists(files.natsTrust))) {
      if (configured.port === 0 || (await isFree(host, configured.port))) return ok("its keys are made at the first start");
      return portTaken(host, configured.port);
    }
    const nats = await openEmbeddedNats({
      trustDir: files.natsTrust,
      dataDir: files.nats,
      port: configured.port,
      host,
      advertisedHosts: config.advertisedHosts,
      clock,
      random: systemRandom,
      log: silentLog,
    });
    const url = new URL(nats.localUrl);
    const record = readRecord(join(files.nats, "nats.pid.json"));
    const isOurs = record !== undefined && isAlive(record);
    if (await isFree(url.hostname, Number(url.port))) return ok(`keys are whole; the server does not run now, it will at ${url.host}`);
    if (!isOurs) return portTaken(url.hostname, Number(url.port));
    const tookMs = await roundTripMs({ urls: nats.busUrls, caPem: nats.caPem, user: () => nats.coordinatorUser(), clock });
    return ok(`accepts our credentials at ${nats.localUrl} (pid ${record.pid}), round trip ${tookMs.toFixed(1)} ms`);
  });
  return [program, server];
}

function portTaken(host: string, port: number): Found {
  return failed(
    `${host}:${port} is taken by a program that is not our nats-server: nodes were told to connect there`,
    `see who has it (ss -ltnp 'sport = :${port}') and stop it, or give nats.embedded.port another port`,
  );
}

async function examineOutside(configured: OutsideConfig, files: DataFiles, clock: Clock): Promise<readonly Finding[]> {
  let nats: OutsideNats | undefined;
  const credentials = await guarded("NATS files", async () => {
    nats = openOutsideNats({ ...configured, trustDir: files.natsTrust, clock, log: silentLog });
    return checkSecrets(configured);
  });
  if (nats === undefined) return [credentials];
  const outside = nats;
  let view: AccountView | undefined;
  let operatorKeys: readonly string[] = [];
  const system = await guarded("NATS system user", async () => {
    // The account is shown by servers where one of its users has been since their start.
    await asNode(outside, clock, "drover.doctor", async () => undefined).catch(() => undefined);
    [view, operatorKeys] = await asSystem(outside.system, SYSTEM_DEADLINE_MS, async (connection) => [
      await viewAccount(connection, outside.accountId),
      await trustedOperatorKeys(connection),
    ]);
    return describeServers(view, clock);
  });
  const coordinator = await guarded("NATS user", () => checkCoordinatorUser(outside, clock));
  const node = coordinator.outcome === "ok" ? [await guarded("NATS node rights", () => checkNodeRights(outside, clock))] : [];
  if (view === undefined) return [credentials, system, coordinator, ...node];
  const newest = newestOf(view);
  const account =
    newest === undefined
      ? failed(
          `no server knows the account ${outside.accountId}, so no node can connect`,
          "compare nats.outside.accountId with nsc describe account, and nsc push",
        )
      : checkAccount(readAccountJwt(newest.jwt), outside);
  return [
    credentials,
    system,
    { check: "NATS account", ...account },
    coordinator,
    ...node,
    { check: "NATS revocation", ...checkRevocation(outside, view, operatorKeys) },
  ];
}

async function checkSecrets(configured: OutsideConfig): Promise<Found> {
  const secrets = [configured.accountSigningKeyFile, configured.systemUserCredsFile, configured.operatorSigningKeyFile];
  for (const path of secrets) {
    const mode = path === undefined ? 0 : (await stat(path)).mode & 0o777;
    if ((mode & 0o077) !== 0) {
      return failed(`${path} can be read by others (mode ${mode.toString(8)}); who has it can be any node`, `chmod 0600 ${path}`);
    }
  }
  return ok("readable, and for their owner alone");
}

function describeServers({ servers, activeServers }: AccountView, clock: Clock): Found {
  const named = servers.map(({ name, version }) => `${name} ${version}`).join(", ");
  if (servers.length === 0)
    return failed("accepted, but no server answers it: it is no user of the system account", "make creds of a user of SYS");
  const skewMs = Math.max(...servers.map(({ atMs }) => Math.abs(clock.now() - atMs)));
  if (skewMs > CLOCK_TOLERANCE_MS) {
    const message = `${named}: a server's clock is ${Math.round(skewMs / 1000)} s from ours; certificates and user JWTs depend on clocks`;
    return failed(message, "set the wrong one (timedatectl set-ntp true)");
  }
  if (servers.length < activeServers) {
    const message = `${servers.length} of ${activeServers} servers answer (${named}); revocations do not reach the others`;
    return warning(message, "give the system user's account access to the whole cluster");
  }
  return ok(`${servers.length} of ${activeServers} servers answer: ${named}`);
}

function checkAccount({ name, nats }: AccountClaims, outside: OutsideNats): Found {
  const { signing_keys: signingKeys, limits } = nats;
  const isPlain = outside.signingKeyId === outside.accountId || signingKeys.includes(outside.signingKeyId);
  const isScoped = signingKeys.some((key) => typeof key === "object" && key.key === outside.signingKeyId);
  if (isScoped) {
    const message = `${outside.signingKeyId} has a scope in account ${name}: its users must not carry the permissions that each node has`;
    return failed(message, `add a plain key: nsc edit account ${name} --sk generate && nsc push`);
  }
  if (!isPlain) {
    const message = `${outside.signingKeyId} is no signing key of account ${name}, so no node can connect`;
    return failed(message, `nsc edit account ${name} --sk ${outside.signingKeyId} && nsc push`);
  }
  const lacking = [
    ...(limits.streams >= 0 && limits.streams < NEEDED_STREAMS ? [`${NEEDED_STREAMS} streams (has ${limits.streams})`] : []),
    ...(limits.disk_storage >= 0 && limits.disk_storage < NEEDED_DISK_BYTES ? [`1 GiB of disk (has ${limits.disk_storage} bytes)`] : []),
    ...(limits.mem_storage === 0 ? ["memory storage (has none)"] : []),
  ];
  if (lacking.length === 0) return ok(`${name}, with our signing key and room for both streams`);
  const next = `nsc edit account ${name} --js-streams 8 --js-consumer 256 --js-disk-storage 2G --js-mem-storage 1G && nsc push`;
  return failed(`account ${name} lacks ${lacking.join(", ")}; beats and reports have no place`, next);
}

async function checkCoordinatorUser(outside: OutsideNats, clock: Clock): Promise<Found> {
  const user = outside.coordinatorUser();
  return withDeadline(clock, `connecting to ${outside.urls.join(", ")}`, CONNECT_DEADLINE_MS, undefined, async () => {
    const connection = await connectAs(outside, user);
    try {
      const [tookMs] = [await connection.rtt(), await (await jetstreamManager(connection)).getAccountInfo()];
      return ok(`accepted at ${connection.getServer()}, JetStream answers, round trip ${tookMs.toFixed(1)} ms`);
    } finally {
      await connection.close();
    }
  });
}

/** Not taken on trust: an account may have defaults of its own, and a node that may hear others is a hole. */
async function checkNodeRights(outside: OutsideNats, clock: Clock): Promise<Found> {
  const denied = await asNode(outside, clock, subjects.allReports, async (isDenied) => isDenied());
  if (denied) return ok("a node's user may do what is its own, and hear nobody else's reports");
  return failed(
    "a node's user was let hear other nodes' reports: the account's permissions replace ours",
    "give the account a plain signing key",
  );
}

async function asNode<T>(outside: OutsideNats, clock: Clock, subject: string, use: (isDenied: () => boolean) => Promise<T>): Promise<T> {
  const key = Nkey.create("user");
  const notAfterMs = clock.now() + PROBE_LIFE_MS;
  const jwt = outside.issueUserJwt({ nodeId: "aaaaaaaaaa", publicKey: key.publicKey, notAfterMs });
  return withDeadline(clock, "connecting as a node", CONNECT_DEADLINE_MS, undefined, async () => {
    const connection = await connectAs(outside, { jwt, seed: key.seed() });
    try {
      let isDenied = false;
      connection.subscribe(subject, {
        callback(error) {
          isDenied ||= error !== null;
        },
      });
      // The refusal comes before the answer to the second round trip.
      await connection.flush();
      await connection.flush();
      return await use(() => isDenied);
    } finally {
      await connection.close();
    }
  });
}

function checkRevocation(outside: OutsideNats, view: AccountView, operatorKeys: readonly string[]): Found {
  const { operatorKeyId } = outside;
  if (operatorKeyId === undefined) {
    return warning(
      "a revoked node CANNOT be cut from NATS at once: gRPC refuses it, but its user JWT is good to its end, up to 7 days",
      "hand over nats.outside.operatorSigningKeyFile, or run nsc revocations add-user and nsc push for each revoked node",
    );
  }
  if (operatorKeys.length > 0 && !operatorKeys.includes(operatorKeyId)) {
    return failed(
      `${operatorKeyId} is no key of the operator that the servers trust: no revoked node can be cut from NATS`,
      "give nats.outside.operatorSigningKeyFile one of the signing keys in nsc describe operator",
    );
  }
  if (view.stored.length === 0) {
    return warning(
      "revoked nodes are cut at once, but the servers keep accounts in memory: one that restarts lets them in until told again, 10 s at most",
      "use a full resolver (resolver { type: full }), which keeps what it is told",
    );
  }
  return ok("revoked nodes are cut at once, and stay out over restarts of the servers");
}

function connectAs(outside: OutsideNats, { jwt, seed }: NatsUser): ReturnType<typeof connect> {
  return connect({
    servers: [...outside.urls],
    name: "drover-coordinator-doctor",
    tls: { ca: outside.caPem },
    authenticator: jwtAuthenticator(jwt, Buffer.from(seed)),
    reconnect: false,
    timeout: CONNECT_DEADLINE_MS,
  });
}

async function roundTripMs(to: {
  readonly urls: readonly string[];
  readonly caPem: string;
  readonly user: () => NatsUser;
  readonly clock: Clock;
}): Promise<number> {
  const ended = new AbortController();
  const bus = new NatsBus({ ...to, random: systemRandom, log: silentLog, revokeUser: async () => undefined });
  const running = bus.run(ended.signal);
  try {
    return await withDeadline(to.clock, `connecting to ${to.urls.join(", ")}`, CONNECT_DEADLINE_MS, undefined, async (signal) => {
      while (!bus.isConnected) await sleep(to.clock, 20, signal);
      return bus.roundTripMs();
    });
  } finally {
    ended.abort();
    await running;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
