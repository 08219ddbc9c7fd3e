/**
 * Files under a root directory. Every component is opened by its parent's descriptor without following links
 * (/proc/self/fd/N/name is what openat is), so that nobody can swap a directory for a link between check and use.
 * Reading follows links before the last component, inside the root; writing follows none.
 */
import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rmdir,
  statfs,
  symlink,
  unlink,
} from "node:fs/promises";
import { posix } from "node:path";
import type { FileIdentity, FileKind, Files } from "./host.ts";
import { StorageFailed } from "../state/state-errors.ts";

const DEFAULT_MAX_BYTES = 4 * 2 ** 20;
const MAX_LINKS = 40;
const DIGEST_CHUNK_BYTES = 2 ** 18;
/** Suffixes of temporaries that this process is writing: any other one was left by a process that was killed. */
const underWay = new Set<string>();
const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY, O_NONBLOCK, O_CREAT, O_EXCL, O_WRONLY, O_RDWR } = constants;

type Links = "follow" | "refuse";

export class RootedFiles implements Files {
  readonly #root: string;

  /** @param root "/" for the running machine */
  constructor(root: string) {
    this.#root = root;
  }

  async read(path: string, maxBytes = DEFAULT_MAX_BYTES): Promise<Buffer | undefined> {
    return this.#inParent(path, "follow", async (parent, name) => {
      // Non-blocking: opening a fifo must not wait for its writer.
      await using file = await open(at(parent, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      const stat = await file.stat();
      if (!stat.isFile()) throw coded(stat.isDirectory() ? "EISDIR" : "EINVAL", `${path} is no regular file`);
      const bytes = Buffer.alloc(Math.min(stat.size > 0 ? stat.size + 1 : 65_536, maxBytes + 1));
      const chunks: Buffer[] = [];
      let total = 0;
      for (;;) {
        const { bytesRead } = await file.read(bytes, 0, bytes.length, null);
        if (bytesRead === 0) return Buffer.concat(chunks);
        chunks.push(Buffer.from(bytes.subarray(0, bytesRead)));
        total += bytesRead;
        if (total > maxBytes) throw coded("EFBIG", `${path} is larger than ${maxBytes} bytes`);
      }
    });
  }

  write(path: string, content: string | Uint8Array, mode: number): Promise<void> {
    return this.writeFrom(path, [content], mode);
  }

  /** As write, of a content that is not held in memory as a whole. */
  async writeFrom(path: string, chunks: AsyncIterable<Uint8Array> | Iterable<string | Uint8Array>, mode: number): Promise<void> {
    await this.#replace(path, async (temporary) => {
      const file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      try {
        for await (const chunk of chunks) await file.writeFile(chunk);
        await file.chmod(mode & 0o7777);
        await durably(path, () => file.sync());
      } finally {
        await file.close();
      }
    });
  }

  async writeLink(path: string, target: string): Promise<void> {
    await this.#replace(path, (temporary) => symlink(target, temporary));
  }

  async writeHardLink(from: string, to: string): Promise<void> {
    const { directory, name } = split(from);
    await using parent = await this.#openDirectory(directory, "refuse");
    await this.#replace(to, (temporary) => link(at(parent, name), temporary));
  }

  async rename(from: string, to: string): Promise<void> {
    const [source, target] = [split(from), split(to)];
    await using left = await this.#openDirectory(source.directory, "refuse");
    const kind = await kindOf(left, source.name);
    if (kind === undefined) throw coded("ENOENT", `there is no ${from}`);
    await using entered = await this.#openDirectory(target.directory, "refuse", true);
    const there = await kindOf(entered, target.name);
    if (there === "directory" || (there !== undefined && kind === "directory")) throw coded("EEXIST", `${to} is there already`);
    await rename(at(left, source.name), at(entered, target.name));
    await durably(to, () => entered.sync());
    await durably(from, () => left.sync());
  }

  /** Makes something at a temporary name beside path and renames it over path, durably. */
  async #replace(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
    const { directory, name } = split(path);
    await using parent = await this.#openDirectory(directory, "refuse", true);
    if ((await kindOf(parent, name)) === "directory") throw coded("EISDIR", `${path} is a directory`);
    const suffix = `${randomBytes(6).toString("hex")}.tmp`;
    const temporary = at(parent, `.${name.slice(0, 100)}.${suffix}`);
    underWay.add(suffix);
    try {
      await removeLeftovers(parent, name);
      await make(temporary);
      await rename(temporary, at(parent, name));
      await durably(path, () => parent.sync());
    } finally {
      // Also after success: a rename over another name of the same file leaves both.
      await unlink(temporary).catch(() => undefined);
      underWay.delete(suffix);
    }
  }

  async remove(path: string): Promise<void> {
    const { directory, name } = split(path);
    try {
      await using parent = await this.#openDirectory(directory, "refuse");
      await removeLeftovers(parent, name);
      await unlink(at(parent, name));
      await durably(path, () => parent.sync());
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }

  async list(path: string): Promise<readonly string[]> {
    try {
      await using directory = await this.#openDirectory(components(path), "follow");
      return (await readdir(`/proc/self/fd/${directory.fd}/`)).sort();
    } catch (error) {
      if (isAbsent(error)) return [];
      throw error;
    }
  }

  async stat(path: string): Promise<{ readonly kind: FileKind; readonly sizeBytes: number; readonly mode: number } | undefined> {
    if (components(path).length === 0) return { kind: "directory", sizeBytes: 0, mode: 0o755 };
    return this.#inParent(path, "follow", async (parent, name) => {
      const stat = await lstat(at(parent, name));
      return { kind: kindOfStat(stat), sizeBytes: stat.size, mode: stat.mode & 0o7777 };
    });
  }

  async readLink(path: string): Promise<string | undefined> {
    return this.#inParent(path, "follow", async (parent, name) => {
      return (await kindOf(parent, name)) === "symlink" ? readlink(at(parent, name)) : undefined;
    });
  }

  async digest(path: string, signal?: AbortSignal): Promise<string | undefined> {
    return this.#inParent(path, "follow", async (parent, name) => {
      await using file = await open(at(parent, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      if (!(await file.stat()).isFile()) throw coded("EINVAL", `${path} is no regular file`);
      return await digestOf(file, signal);
    });
  }

  async identity(path: string): Promise<FileIdentity | undefined> {
    return this.#inParent(path, "follow", async (parent, name) => {
      const stat = await lstat(at(parent, name), { bigint: true });
      return {
        kind: kindOfStat(stat),
        uid: Number(stat.uid),
        mode: Number(stat.mode) & 0o7777,
        sizeBytes: Number(stat.size),
        version: [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(":"),
      };
    });
  }

  async removeTree(path: string): Promise<void> {
    const { directory, name } = split(path);
    try {
      await using parent = await this.#openDirectory(directory, "refuse");
      await removeEntry(parent, name, path);
      await durably(path, () => parent.sync());
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }

  /** The file at path, opened to read without following a link at its end; the caller closes it. @throws ENOENT */
  async open(path: string, flags: "read" | "append"): Promise<FileHandle> {
    const { directory, name } = split(path);
    await using parent = await this.#openDirectory(directory, flags === "read" ? "follow" : "refuse", flags === "append");
    const how = flags === "read" ? O_RDONLY : O_RDWR | O_CREAT;
    const file = await open(at(parent, name), how | O_NOFOLLOW | O_NONBLOCK, 0o600);
    if ((await file.stat()).isFile()) return file;
    await file.close();
    throw coded("EINVAL", `${path} is no regular file`);
  }

  async makeDirectory(path: string, mode: number): Promise<void> {
    await using directory = await this.#openDirectory(components(path), "refuse", true);
    await directory.chmod(mode & 0o7777);
    await durably(path, () => directory.sync());
  }

  async freeBytes(path: string): Promise<number> {
    for (let parts = components(path); ; parts = parts.slice(0, -1)) {
      try {
        await using directory = await this.#openDirectory(parts, "follow");
        const { bavail, bfree, bsize } = await statfs(`/proc/self/fd/${directory.fd}/`);
        return (process.getuid?.() === 0 ? bfree : bavail) * bsize;
      } catch (error) {
        if (parts.length === 0 || !(isAbsent(error) || (error as NodeJS.ErrnoException).code === "ENOTDIR")) throw error;
      }
    }
  }

  /** undefined when the file, or a directory on the way to it, is absent. */
  async #inParent<T>(path: string, links: Links, work: (parent: FileHandle, name: string) => Promise<T>): Promise<T | undefined> {
    const { directory, name } = split(path);
    try {
      await using parent = await this.#openDirectory(directory, links);
      return await work(parent, name);
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  async #openDirectory(wanted: readonly string[], links: Links, makeMissing = false): Promise<FileHandle> {
    let pending = [...wanted];
    let followed = 0;
    let walked: string[] = [];
    let current = await open(this.#root, O_RDONLY | O_DIRECTORY);
    try {
      while (pending.length > 0) {
        const name = pending.shift()!;
        if (name === "..") {
          // Only links bring these; what is above the root is the root.
          pending = [...walked.slice(0, -1), ...pending];
          walked = [];
          current = await replaced(current, open(this.#root, O_RDONLY | O_DIRECTORY));
          continue;
        }
        if (links === "follow" && (await kindOf(current, name)) === "symlink") {
          followed += 1;
          if (followed > MAX_LINKS) throw coded("ELOOP", `too many links on the way to /${wanted.join("/")}`);
          const target = await readlink(at(current, name));
          const steps = target.split("/").filter((step) => step !== "" && step !== ".");
          pending = posix.isAbsolute(target) ? [...steps, ...pending] : [...walked, ...steps, ...pending];
          walked = [];
          current = await replaced(current, open(this.#root, O_RDONLY | O_DIRECTORY));
          continue;
        }
        if (makeMissing && (await kindOf(current, name)) === undefined) {
          await mkdir(at(current, name), 0o755).catch((error: unknown) => {
            if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
          });
          await current.sync();
        }
        current = await replaced(current, openChild(current, name, [...walked, name]));
        walked.push(name);
      }
      return current;
    } catch (error) {
      await current.close();
      throw error;
    }
  }
}

/** Unfinished writes of this file that a kill has cut off. */
async function removeLeftovers(parent: FileHandle, name: string): Promise<void> {
  const prefix = `.${name.slice(0, 100)}.`;
  for (const entry of await readdir(`/proc/self/fd/${parent.fd}/`)) {
    if (!entry.startsWith(prefix)) continue;
    const suffix = entry.slice(prefix.length);
    if (/^[0-9a-f]{12}\.tmp$/.test(suffix) && !underWay.has(suffix)) await unlink(at(parent, entry)).catch(() => undefined);
  }
}

/** Descends by descriptors; what is mounted below is never touched. */
async function removeEntry(parent: FileHandle, name: string, path: string): Promise<void> {
  if ((await kindOf(parent, name)) !== "directory") {
    await unlink(at(parent, name));
    return;
  }
  {
    await using directory = await open(at(parent, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if ((await mountOf(directory)) !== (await mountOf(parent))) throw coded("EBUSY", `${path} is a mount point: unmount it first`);
    for (const entry of await readdir(at(directory, ""))) await removeEntry(directory, entry, `${path}/${entry}`);
  }
  await rmdir(at(parent, name));
}

/** Tells bind mounts of one file system apart too, which the device's number does not. */
async function mountOf(file: FileHandle): Promise<string | undefined> {
  return /^mnt_id:\s*(\d+)$/m.exec(await readFile(`/proc/self/fdinfo/${file.fd}`, "utf8"))?.[1];
}

/** "sha256:<hex>" from the file's position to its end. */
async function digestOf(file: FileHandle, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(DIGEST_CHUNK_BYTES);
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return `sha256:${hash.digest("hex")}`;
    hash.update(buffer.subarray(0, bytesRead));
  }
}

async function openChild(parent: FileHandle, name: string, path: readonly string[]): Promise<FileHandle> {
  try {
    return await open(at(parent, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    if ((await kindOf(parent, name)) === "symlink") throw coded("ELOOP", `/${path.join("/")} is a symbolic link`);
    throw error;
  }
}

/** The next directory, the one before it closed; unchanged when the next cannot be opened. */
async function replaced(current: FileHandle, opening: Promise<FileHandle>): Promise<FileHandle> {
  const next = await opening;
  await current.close();
  return next;
}

async function kindOf(parent: FileHandle, name: string): Promise<FileKind | undefined> {
  try {
    return kindOfStat(await lstat(at(parent, name)));
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function kindOfStat(stat: { isFile(): boolean; isDirectory(): boolean; isSymbolicLink(): boolean }): FileKind {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "directory";
  return stat.isSymbolicLink() ? "symlink" : "other";
}

function at(parent: FileHandle, name: string): string {
  return `/proc/self/fd/${parent.fd}/${name}`;
}

function split(path: string): { directory: string[]; name: string } {
  const parts = components(path);
  const name = parts.pop();
  if (name === undefined) throw coded("EISDIR", "/ is a directory");
  return { directory: parts, name };
}

function components(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (!posix.isAbsolute(path) || path.includes("\0") || parts.includes("..")) {
    throw coded("EINVAL", `${JSON.stringify(path)} is no absolute path without ".."`);
  }
  return parts;
}

async function durably(path: string, sync: () => Promise<void>): Promise<void> {
  try {
    await sync();
  } catch (error) {
    throw new StorageFailed(path, error);
  }
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
