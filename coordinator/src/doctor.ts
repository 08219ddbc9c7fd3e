/** Looks for what would keep the coordinator from working, and says what to do about each. Works beside a running coordinator; repairs nothing. */
import { X509Certificate } from "node:crypto";
import type { Stats } from "node:fs";
import { access, constants, readdir, readFile, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Clock, systemClock } from "@drover/lifecycle";
import { listenErrorOf } from "./bus/nats-listen.ts";
import { SecretKeyUnusable, readSecretBox } from "./cluster/secret-key-file.ts";
import type { SecretBox } from "./cluster/secret-box.ts";
import type { Config } from "./config/config.ts";
import { type DataFiles, dataFiles, readPorts } from "./data-files.ts";
import { examineNats } from "./doctor-nats.ts";
import { failed, type Finding, type Found, guarded, ok, warning } from "./finding.ts";
import type { SealedSecret } from "./records.ts";
import { keys } from "./store/keys.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";
import { readJson } from "./store/values.ts";

const MIN_FREE_BYTES = 1024 ** 3;
const LITTLE_FREE_BYTES = 5 * 1024 ** 3;
const CONNECT_DEADLINE_MS = 5_000;
/** A clock before this is wrong: the code did not exist. */
const BUILT_AT_MS = Date.UTC(2026, 0, 1);
const CLOCK_TOLERANCE_MS = 5 * 60_000;
/** Smaller is no SQLite file, however whole an empty one looks. */
const SQLITE_HEADER_BYTES = 100;

export async function examine(config: Config, clock: Clock = systemClock): Promise<readonly Finding[]> {
  const files = dataFiles(config.dataDir);
  const directory = await guarded("data directory", () => checkDataDirectory(files));
  const disk = await guarded("disk space", () => checkDisk(files.root));
  const start = [await guarded("clock", () => checkClock(files, clock)), directory, disk];
  // What cannot be read says nothing of what is in it.
  if (directory.outcome === "failed" && !(await isReadable(files.root))) return start;
  return [
    ...start,
    await guarded("store", () => checkStore(files)),
    await guarded("certificate authority", () => checkAuthority(files, clock)),
    await guarded("stored secrets", () => checkSecrets(config, files)),
    await guarded("ports", () => checkPorts(config, files)),
    ...(await examineNats(config, files, clock)),
  ];
}

const SET_CLOCK = "set the clock (timedatectl set-ntp true; chronyc tracking), then run doctor again";

/** There is no clock to compare with but what was written here before. */
async function checkClock(files: DataFiles, clock: Clock): Promise<Found> {
  const nowMs = clock.now();
  const now = new Date(nowMs).toISOString();
  if (nowMs < BUILT_AT_MS) return failed(`${now} is before this program was made; certificates made now would be void`, SET_CLOCK);
  const lastMs = await lastWrittenMs(files).catch(() => undefined);
  if (lastMs !== undefined && lastMs > nowMs + CLOCK_TOLERANCE_MS) {
    const last = new Date(lastMs).toISOString();
    return failed(`${now} is before what was written here already (${last}): it was wrong then, or is now`, SET_CLOCK);
  }
  return ok(now);
}

/** The start of the newest CA, and the last audit record. */
async function lastWrittenMs(files: DataFiles): Promise<number | undefined> {
  const times = (await authorityCertificates(files)).map(({ certificate }) => Date.parse(certificate.validFrom));
  // An empty file would be made a store by opening it.
  if (((await statIfThere(files.store))?.size ?? 0) >= SQLITE_HEADER_BYTES) {
    const store = openSqliteStore(files.store);
    try {
      const { entries } = await store.list(keys.audits);
      const last = entries.at(-1)?.key.slice(keys.audits.length).split("-")[0];
      if (last !== undefined) times.push(Number(last));
    } finally {
      await store.close();
    }
  }
  return times.length === 0 ? undefined : Math.max(...times);
}

async function checkDataDirectory({ root }: DataFiles): Promise<Found> {
  const there = await statIfThere(root);
  if (there === undefined) {
    const parent = await nearestParent(root);
    if (await isWritable(parent)) return ok(`${root} is not there yet; it is made at the first start`);
    return failed(
      `${root} is not there, and this user may not make it in ${parent}`,
      `install -d -m 0700 -o ${process.getuid?.()} ${root}, as root`,
    );
  }
  if (!there.isDirectory()) return failed(`${root} is no directory`, "name another one in dataDir, or move that file away");
  const mode = there.mode & 0o777;
  if ((mode & 0o077) !== 0) {
    return failed(`${root} is open to others (mode ${mode.toString(8)}), and holds private keys`, `chmod 0700 ${root}`);
  }
  if (!(await isWritable(root))) {
    if (there.uid === process.getuid?.()) {
      return failed(
        `${root} cannot be written, though it is this user's: the file system is read-only`,
        `see findmnt -T ${root}, and the kernel's log for disk errors`,
      );
    }
    const message = `${root} cannot be written: it is owned by uid ${there.uid}, and this is uid ${process.getuid?.()}`;
    return failed(message, `run as its owner, or chown -R ${process.getuid?.()} ${root}`);
  }
  return ok(`${root}, for its owner alone`);
}

async function checkDisk(root: string): Promise<Found> {
  const path = (await statIfThere(root)) === undefined ? await nearestParent(root) : root;
  const { bavail, bsize, ffree, files } = await statfs(path);
  const freeBytes = bavail * bsize;
  const text = `${(freeBytes / 1024 ** 3).toFixed(1)} GiB free at ${path}`;
  const next = `free some (du -xh --max-depth=2 ${path} | sort -h | tail), or move dataDir to a larger disk`;
  if (files > 0 && ffree < 1000) return failed(`${text}, but only ${ffree} inodes: no file can be made`, next);
  if (freeBytes < MIN_FREE_BYTES)
    return failed(`${text}; below 1 GiB reports and NATS soon cannot be written, and the coordinator ends`, next);
  if (freeBytes < LITTLE_FREE_BYTES) return warning(`${text}; report log and NATS may grow to more than that`, next);
  return ok(text);
}

const RESTORE = "stop the coordinator, put the file of the last backup in its place, start it, then drover-coordinator restore --accept";

async function checkStore(files: DataFiles): Promise<Found> {
  const { store } = files;
  const there = await statIfThere(store);
  const hasServed = (await authorityCertificates(files).catch(() => [1])).length > 0;
  if (there === undefined && hasServed) {
    return failed(`${store} is gone, though this directory has a CA: started like this, the coordinator knows no node`, RESTORE);
  }
  if (there === undefined) return ok("not there yet; it is made at the first start");
  if (there.size < SQLITE_HEADER_BYTES) return failed(`${store} has ${there.size} bytes: it was cut off, and knows no node`, RESTORE);
  // Opening checks the file's integrity and schema.
  const opened = openSqliteStore(store, { isLookedThrough: true });
  try {
    const { revision } = await opened.list(keys.coordinator);
    return ok(`whole, at revision ${revision}`);
  } finally {
    await opened.close();
  }
}

async function authorityCertificates({
  authority,
}: DataFiles): Promise<readonly { readonly path: string; readonly certificate: X509Certificate }[]> {
  if (!(await exists(authority))) return [];
  const names = (await readdir(authority)).filter((name) => /^ca-\d+\.pem$/.test(name));
  return Promise.all(
    names.map(async (name) => {
      const path = join(authority, name);
      try {
        return { path, certificate: new X509Certificate(await readFile(path)) };
      } catch {
        throw new Error(`${path} is no CA of ours: every node would be refused; restore it from a backup`);
      }
    }),
  );
}

async function checkAuthority(files: DataFiles, clock: Clock): Promise<Found> {
  if (!(await exists(files.authority))) return ok("not there yet; it is made at the first start");
  const found = await authorityCertificates(files);
  const restore = `restore ${files.authority} from a backup; without it every node must enrol again`;
  if (found.length === 0) return failed(`${files.authority} holds no CA: every node would be refused`, restore);
  for (const { path } of found) {
    const mode = (await stat(path)).mode & 0o777;
    if ((mode & 0o077) !== 0) {
      return failed(`${path} is open to others (mode ${mode.toString(8)}): who has it can be any node`, `chmod 0600 ${path}`);
    }
  }
  const endMs = Math.max(...found.map(({ certificate }) => Date.parse(certificate.validTo)));
  const end = new Date(endMs).toISOString();
  if (endMs <= clock.now())
    return failed(`every CA has expired, the last on ${end}`, "see whether the clock is right; if it is, every node must enrol again");
  return ok(
    found.length === 1 ? `until ${end}` : `${found.length} trusted, the last until ${end}; see drover-coordinator ca rotate --status`,
  );
}

/** The key file, and that it opens everything that is stored encrypted. */
async function checkSecrets(config: Config, files: DataFiles): Promise<Found> {
  const keyFile = config.secretKeyFile ?? files.secretKey;
  const sealed = await sealedSecrets(files);
  const adoptAgain = "put it back from its backup; without one, adopt each cluster again: drover cluster adopt NAME --kubeconfig FILE";
  let box: SecretBox | undefined;
  try {
    box = readSecretBox(keyFile);
  } catch (error) {
    if (!(error instanceof SecretKeyUnusable)) throw error;
    const [message, ...next] = error.message.split(": ");
    return failed(message!, next.join(": ") === "" ? adoptAgain : next.join(": "));
  }
  if (box === undefined && sealed.length === 0) return ok(`${keyFile} is not there yet; it is made at the first start`);
  if (box === undefined) return failed(`${keyFile} is gone, and ${sealed.length} kubeconfigs can be read by nothing else`, adoptAgain);
  for (const { key, value } of sealed) {
    try {
      box.open(key, value);
    } catch (error) {
      return failed((error as Error).message, adoptAgain);
    }
  }
  return ok(`${keyFile}, key ${box.keyId}, opens all ${sealed.length} that are stored; back it up apart from the store`);
}

async function sealedSecrets({ store }: DataFiles): Promise<readonly { readonly key: string; readonly value: SealedSecret }[]> {
  // An empty file would be made a store by opening it.
  if (((await statIfThere(store))?.size ?? 0) < SQLITE_HEADER_BYTES) return [];
  const opened = openSqliteStore(store);
  try {
    const { entries } = await opened.list(keys.secrets);
    return entries.map((entry) => ({ key: entry.key, value: readJson(entry) as SealedSecret }));
  } finally {
    await opened.close();
  }
}

async function checkPorts(config: Config, files: DataFiles): Promise<Found> {
  const bound = await readPorts(files);
  const unusable: string[] = [];
  for (const [name, { host, port }] of Object.entries(config.listen)) {
    const code = port === 0 ? undefined : await listenErrorOf(host, port);
    if (code !== undefined) unusable.push(`listen.${name} ${host}:${port} ${WHY[code] ?? code}`);
  }
  if (unusable.length === 0) return ok("free");
  if (bound !== undefined && (await isAlive(bound.metrics, config.listen.metrics.host)))
    return ok("served by the coordinator that runs here");
  return failed(unusable.join("; "), "see who has it (ss -ltnp) and stop it, or choose another address or port in listen");
}

const WHY: Readonly<Record<string, string>> = {
  EADDRINUSE: "is taken by another program",
  EADDRNOTAVAIL: "is no address of this machine",
  EACCES: "needs root, as all ports below 1024",
};

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

async function nearestParent(path: string): Promise<string> {
  const parent = dirname(path);
  return parent === path || (await exists(parent)) ? parent : nearestParent(parent);
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function isWritable(path: string): Promise<boolean> {
  return may(path, constants.R_OK | constants.W_OK | constants.X_OK);
}

function isReadable(path: string): Promise<boolean> {
  return may(dirname(path), constants.X_OK).then(
    async (isIn) => isIn && (!(await exists(path)) || may(path, constants.R_OK | constants.X_OK)),
  );
}

function exists(path: string): Promise<boolean> {
  return may(path, constants.F_OK);
}

function may(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}
