/** Where the fleet's snapshot lies: one file, whole or absent. */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

export interface SnapshotStore {
  /** undefined: there is none. */
  read(): Promise<Buffer | undefined>;
  /** Durable when resolved. @param pieces of one snapshot, one after the other */
  write(pieces: readonly Uint8Array[]): Promise<void>;
}

export function fileSnapshotStore(path: string): SnapshotStore {
  return {
    async read() {
      try {
        return await readFile(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
      }
    },
    async write(pieces) {
      const apart = `${path}.tmp`;
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await rm(apart, { force: true });
      await using(await open(apart, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600), async (file) => {
        for (const piece of pieces) await file.writeFile(piece);
        await file.sync();
      });
      await rename(apart, path);
      await using(await open(dirname(path), "r"), (directory) => directory.sync());
    },
  };
}

/** For tests and the simulation. */
export function memorySnapshotStore(): SnapshotStore {
  let kept: Buffer | undefined;
  return {
    read: async () => kept,
    async write(pieces) {
      kept = Buffer.concat(pieces);
    },
  };
}

async function using(file: FileHandle, work: (file: FileHandle) => Promise<void>): Promise<void> {
  try {
    await work(file);
  } finally {
    await file.close();
  }
}
