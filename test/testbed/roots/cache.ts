/** What takes minutes to make is made once: folders outside the checkout, each built under a lock and put in place whole. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { once } from "node:events";
import { basename, join } from "node:path";

/** $DROVER_CACHE, else /var/cache/drover-testbed. */
export function cacheDirectory(): string {
  return process.env["DROVER_CACHE"] ?? "/var/cache/drover-testbed";
}

/**
 * A folder of the cache; whoever comes while another builds it waits for that one.
 * @param name with what it depends on in it ("root-1a2b3c"): what is there under that name is never built again
 * @param build fills an empty folder that gets its name when it is whole
 */
export async function cached(name: string, build: (directory: string) => Promise<void>): Promise<string> {
  const whole = join(cacheDirectory(), name);
  if (await isThere(whole)) return whole;
  await mkdir(cacheDirectory(), { recursive: true });
  await using _lock = await lock(`${whole}.lock`);
  if (await isThere(whole)) return whole;
  await removeHalves(name);
  const half = await mkdtemp(`${whole}.half-`);
  try {
    const content = join(half, "content");
    await mkdir(content, { mode: 0o755 });
    await build(content);
    await rename(content, whole);
  } finally {
    await rm(half, { recursive: true, force: true });
  }
  return whole;
}

export function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** First 16 hexadecimal digits of SHA-256: enough to tell recipes apart. */
export function digestOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(createHash("sha256").update(part).digest());
  return hash.digest("hex").slice(0, 16);
}

/** What builders left that were killed; only called under the lock. */
async function removeHalves(name: string): Promise<void> {
  for (const entry of await readdir(cacheDirectory())) {
    if (entry.startsWith(`${name}.half-`)) await rm(join(cacheDirectory(), entry), { recursive: true, force: true });
  }
}

/** The kernel lets go of it when its holder or we die, in whatever way. */
async function lock(path: string): Promise<AsyncDisposable> {
  const holder = spawn("flock", [path, "sh", "-c", "echo held; exec cat"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(holder, "exit");
  const [first] = (await Promise.race([once(holder.stdout, "data"), ended])) as [Buffer | number];
  if (!Buffer.isBuffer(first)) throw new Error(`${basename(path)} could not be locked: flock ended with ${first}`);
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await ended;
    },
  };
}
