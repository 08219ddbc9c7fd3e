/** Where evidence bundles lie: gzipped tar archives by id, the newest kept, for this user's eyes only. */
import { chmod, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDirectory, readIfThere, writeDurably } from "../bus/durable-file.ts";

export const MAX_BUNDLE_BYTES = 1024 * 1024;
const MAX_BUNDLES = 200;
const MAX_BYTES = 500 * 1024 * 1024;
const SUFFIX = ".tar.gz";
const ID = /^[A-Za-z0-9][A-Za-z0-9.-]{0,90}$/;

export interface EvidenceStore {
  /** Durable when resolved; in place of one with this id. The oldest go when there are too many. @throws RangeError on an id that is no file name */
  put(id: string, bundle: Uint8Array): Promise<void>;
  /** undefined: there is none, or it was too old to be kept. */
  get(id: string): Promise<Buffer | undefined>;
}

export interface EvidenceLimits {
  readonly bundles: number;
  readonly bytes: number;
}

/** @param folder made when it is needed, 0700 */
export function fileEvidenceStore(folder: string, limits: EvidenceLimits = { bundles: MAX_BUNDLES, bytes: MAX_BYTES }): EvidenceStore {
  return {
    async put(id, bundle) {
      const path = join(folder, checked(id) + SUFFIX);
      makePrivateDirectory(folder);
      await chmod(folder, 0o700);
      writeDurably(path, bundle);
      await removeOldest(folder, path, limits);
    },
    async get(id) {
      return ID.test(id) ? readIfThere(join(folder, id + SUFFIX)) : undefined;
    },
  };
}

/** For tests and the simulation. */
export function memoryEvidenceStore(): EvidenceStore {
  const kept = new Map<string, Buffer>();
  return {
    async put(id, bundle) {
      kept.delete(checked(id));
      kept.set(id, Buffer.from(bundle));
      while (kept.size > MAX_BUNDLES) kept.delete(kept.keys().next().value!);
    },
    get: async (id) => kept.get(id),
  };
}

function checked(id: string): string {
  if (!ID.test(id)) throw new RangeError(`evidence id ${JSON.stringify(id.slice(0, 100))} is no file name`);
  return id;
}

async function removeOldest(folder: string, newest: string, limits: EvidenceLimits): Promise<void> {
  const bundles = [];
  for (const name of await readdir(folder)) {
    if (!name.endsWith(SUFFIX)) continue;
    const path = join(folder, name);
    const { mtimeMs, size } = await stat(path);
    // What was written just now is the newest, whatever the clock of the file system says.
    bundles.push({ path, size, age: path === newest ? Infinity : mtimeMs });
  }
  bundles.sort((a, b) => b.age - a.age);
  let bytes = 0;
  for (const [index, { path, size }] of bundles.entries()) {
    bytes += size;
    if (index > 0 && (index >= limits.bundles || bytes > limits.bytes)) await rm(path, { force: true });
  }
}
