/** Durable state in one directory of the machine: 0700, files 0600, each replaced whole. */
import { randomBytes } from "node:crypto";
import { chmod, mkdir, open, readdir, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { DurableLog, StateDirectory } from "../ports.ts";
import { FileLog, syncDirectory } from "./file-log.ts";
import { StorageFailed } from "./state-errors.ts";

const NAME = /^[a-z0-9][a-z0-9._-]{0,100}$/;
const TEMPORARY = /^\.[a-z0-9._-]+\.[0-9a-f]{12}\.tmp$/;

export class FileStateDirectory implements StateDirectory {
  readonly #path: string;
  readonly #segmentBytes: number | undefined;

  private constructor(path: string, segmentBytes: number | undefined) {
    this.#path = path;
    this.#segmentBytes = segmentBytes;
  }

  /** Makes the directory when it is missing, and removes what unfinished writes have left. */
  static async open(path: string, options: { readonly segmentBytes?: number } = {}): Promise<FileStateDirectory> {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await chmod(path, 0o700);
    for (const file of await readdir(path)) if (TEMPORARY.test(file)) await unlink(join(path, file));
    return new FileStateDirectory(path, options.segmentBytes);
  }

  async readFile(name: string): Promise<Buffer | undefined> {
    try {
      return await readFile(this.#at(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async writeFile(name: string, content: Uint8Array): Promise<void> {
    const temporary = join(this.#path, `.${name}.${randomBytes(6).toString("hex")}.tmp`);
    try {
      const handle = await open(temporary, "wx", 0o600);
      try {
        await handle.writeFile(content);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, this.#at(name));
      await syncDirectory(this.#path);
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw new StorageFailed(this.#at(name), error);
    }
  }

  async removeFile(name: string): Promise<void> {
    try {
      await unlink(this.#at(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    await syncDirectory(this.#path);
  }

  openLog(name: string): Promise<DurableLog> {
    this.#at(name);
    return FileLog.open(this.#path, name, this.#segmentBytes);
  }

  removeLog(name: string): Promise<void> {
    this.#at(name);
    return FileLog.remove(this.#path, name);
  }

  #at(name: string): string {
    if (!NAME.test(name)) throw new RangeError(`${JSON.stringify(name)} is no name for durable state`);
    return join(this.#path, name);
  }
}
