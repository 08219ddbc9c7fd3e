/** Looks for what would keep the coordinator from working, and says what to do about each. Changes nothing, and works beside a running coordinator. */
import { X509Certificate } from "node:crypto";
import { access, constants, readdir, readFile, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, silentLog, sleep, systemClock, systemRandom, withDeadline } from "@drover/lifecycle";
import { openEmbeddedNats } from "./bus/embedded-nats.ts";
import { NatsBus } from "./bus/nats-bus.ts";
import { findNatsServer, isFree } from "./bus/nats-listen.ts";
import type { Config } from "./config/config.ts";
import { type DataFiles, dataFiles, readPorts } from "./data-files.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";

export interface Finding {
  readonly check: string;
  readonly outcome: "ok" | "warning" | "failed";
  /** What was found, and when it is not ok, what to do. */
  readonly message: string;
}

const MIN_FREE_BYTES = 1024 ** 3;
const CONNECT_DEADLINE_MS = 5_000;
/** A clock before this is wrong: the code did not exist. */
const BUILT_AT_MS = Date.UTC(2026, 0, 1);

export async function examine(config: Config, clock: Clock = systemClock): Promise<readonly Finding[]> {
  const files = dataFiles(config.dataDir);
  const isPresent = await exists(files.root);
  return [
    checkClock(clock),
    await guarded("data directory", () => checkDataDirectory(files)),
    await guarded("disk space", () => checkDisk(isPresent ? files.root : "/")),
    await guarded("store", () => checkStore(files)),
    await guarded("certificate authority", () => checkAuthority(files, clock)),
    await guarded("ports", () => checkPorts(config, files)),
    ...(await checkNats(config, files, clock)),
  ];
}

async function guarded(check: string, look: () => Promise<Omit<Finding, "check">>): Promise<Finding> {
  try {
    return { check, ...(await look()) };
  } catch (error) {
    return { check, outcome: "failed", message: (error as Error).message };
  }
}

function checkClock(clock: Clock): Finding {
  const now = new Date(clock.now()).toISOString();
  if (clock.now() >= BUILT_AT_MS) return { check: "clock", outcome: "ok", message: now };
  return { check: "clock", outcome: "failed", message: `${now} is before this program was made; set the clock (timedatectl set-ntp true)` };
}

async function checkDataDirectory({ root }: DataFiles): Promise<Omit<Finding, "check">> {
  if (!(await exists(root))) return { outcome: "ok", message: `${root} is not there yet; it is made at the first start` };
  const { mode } = await stat(root);
  if ((mode & 0o077) !== 0)
    return { outcome: "failed", message: `${root} is open to others (mode ${(mode & 0o777).toString(8)}); chmod 0700 ${root}` };
  await access(root, constants.R_OK | constants.W_OK | constants.X_OK).catch(() => {
    throw new Error(`${root} cannot be written by this user; run as its owner, or chown it`);
  });
  return { outcome: "ok", message: `${root}, for its owner alone` };
}

async function checkDisk(path: string): Promise<Omit<Finding, "check">> {
  const { bavail, bsize } = await statfs(path);
  const freeBytes = bavail * bsize;
  const text = `${(freeBytes / 1024 ** 3).toFixed(1)} GiB free at ${path}`;
  return freeBytes >= MIN_FREE_BYTES
    ? { outcome: "ok", message: text }
    : { outcome: "failed", message: `${text}; at least 1 GiB is needed for reports and NATS: free some, or move the data directory` };
}

async function checkStore({ store }: DataFiles): Promise<Omit<Finding, "check">> {
  if (!(await exists(store))) return { outcome: "ok", message: "not there yet; it is made at the first start" };
  // Opening checks the file's integrity and schema.
  const opened = openSqliteStore(store);
  try {
    const { revision } = await opened.list("coordinator/");
    return { outcome: "ok", message: `whole, at revision ${revision}` };
  } finally {
    await opened.close();
  }
}

async function checkAuthority({ authority }: DataFiles, clock: Clock): Promise<Omit<Finding, "check">> {
  if (!(await exists(authority))) return { outcome: "ok", message: "not there yet; it is made at the first start" };
  const names = (await readdir(authority)).filter((name) => /^ca-\d+\.pem$/.test(name));
  const ends = [];
  for (const name of names) {
    const path = join(authority, name);
    if (((await stat(path)).mode & 0o077) !== 0) return { outcome: "failed", message: `${path} is open to others; chmod 0600 ${path}` };
    ends.push(Date.parse(new X509Certificate(await readFile(path)).validTo));
  }
  if (ends.length === 0) return { outcome: "failed", message: `${authority} holds no CA; restore it from a backup` };
  if (Math.max(...ends) <= clock.now()) return { outcome: "failed", message: "every CA has expired; restore a valid one from a backup" };
  return { outcome: "ok", message: `${names.length} trusted, the last until ${new Date(Math.max(...ends)).toISOString()}` };
}

async function checkPorts(config: Config, files: DataFiles): Promise<Omit<Finding, "check">> {
  const bound = await readPorts(files);
  const taken: string[] = [];
  for (const [name, { host, port }] of Object.entries(config.listen)) {
    if (port !== 0 && !(await isFree(host, port))) taken.push(`${name} ${host}:${port}`);
  }
  if (taken.length === 0) return { outcome: "ok", message: "free" };
  if (bound !== undefined && (await isAlive(bound.metrics, config.listen.metrics.host)))
    return { outcome: "ok", message: "served by the coordinator that runs here" };
  return { outcome: "failed", message: `taken by another program: ${taken.join(", ")}; stop it (ss -ltnp), or choose others in listen` };
}

async function isAlive(port: number, host: string): Promise<boolean> {
  try {
    const answer = await fetch(`http://${host.includes(":") ? `[${host}]` : host}:${port}/healthz`, {
      signal: AbortSignal.timeout(CONNECT_DEADLINE_MS),
    });
    return answer.ok;
  } catch {
    return false;
  }
}

async function checkNats(config: Config, files: DataFiles, clock: Clock): Promise<readonly Finding[]> {
  const { nats: configured } = config;
  if (configured.kind === "outside") {
    return [{ check: "NATS", outcome: "failed", message: "nats.outside is not supported by this version; leave nats out" }];
  }
  const program = await guarded("nats-server", async () => ({ outcome: "ok", message: findNatsServer(configured.program) }));
  if (!(await exists(files.natsTrust))) {
    return [program, { check: "NATS credentials", outcome: "ok", message: "not there yet; they are made at the first start" }];
  }
  const credentials = await guarded("NATS credentials", async () => {
    const nats = await openEmbeddedNats({
      trustDir: files.natsTrust,
      dataDir: files.nats,
      port: configured.port,
      host: config.listen.session.host,
      advertisedHosts: config.advertisedHosts,
      clock,
      random: systemRandom,
      log: silentLog,
    });
    const url = new URL(nats.localUrl);
    if (await isFree(url.hostname, Number(url.port))) return { outcome: "ok", message: "whole; the server does not run now" };
    return { outcome: "ok", message: `accepted by ${nats.localUrl}, round trip ${(await roundTripMs(nats, clock)).toFixed(1)} ms` };
  });
  return [program, credentials];
}

async function roundTripMs(nats: Awaited<ReturnType<typeof openEmbeddedNats>>, clock: Clock): Promise<number> {
  const ended = new AbortController();
  const bus = new NatsBus({
    urls: [nats.localUrl],
    caPem: nats.caPem,
    clock,
    random: systemRandom,
    log: silentLog,
    user: () => nats.coordinatorUser(),
    revokeUser: async () => undefined,
  });
  const running = bus.run(ended.signal);
  try {
    return await withDeadline(clock, `connecting to ${nats.localUrl}`, CONNECT_DEADLINE_MS, undefined, async (signal) => {
      while (!bus.isConnected) await sleep(clock, 20, signal);
      return bus.roundTripMs();
    });
  } finally {
    ended.abort();
    await running;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
