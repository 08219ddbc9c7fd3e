/** Where each file lies in a tar, so that single ones are read out of it in place; nothing is ever written to a file system. */
import { posix } from "node:path";
import { constants, type FileHandle, open } from "node:fs/promises";
import { ContainerdError } from "../containerd-port.ts";
import {
  hasValidChecksum,
  MAX_EXTENSION_BYTES,
  nameOf,
  paxRecords,
  REGULAR_FILES,
  sizeOf,
  TAR_BLOCK_BYTES as BLOCK_BYTES,
  text,
} from "../tar-header.ts";
import { CHUNK_BYTES } from "./content-store.ts";
import { MAX_DOCUMENT_BYTES } from "./manifest.ts";

export interface TarEntry {
  readonly offset: number;
  readonly sizeBytes: number;
}

const MAX_ENTRIES = 100_000;

export class TarIndex {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #entries: ReadonlyMap<string, TarEntry>;

  constructor(path: string, file: FileHandle, entries: ReadonlyMap<string, TarEntry>) {
    this.path = path;
    this.#file = file;
    this.#entries = entries;
  }

  entry(name: string): TarEntry | undefined {
    return this.#entries.get(posix.normalize(name));
  }

  /** undefined: no such file in it. */
  async readDocument(name: string): Promise<Buffer | undefined> {
    const entry = this.entry(name);
    if (entry === undefined) return undefined;
    if (entry.sizeBytes > MAX_DOCUMENT_BYTES) throw invalid(this.path, `${name} is larger than ${MAX_DOCUMENT_BYTES} bytes`);
    return readExactly(this.#file, this.path, entry.offset, entry.sizeBytes);
  }

  async *read(entry: TarEntry, from: number): AsyncGenerator<Buffer> {
    for (let at = from; at < entry.sizeBytes; ) {
      const chunk = await readExactly(this.#file, this.path, entry.offset + at, Math.min(CHUNK_BYTES, entry.sizeBytes - at));
      yield chunk;
      at += chunk.length;
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** @throws ContainerdError InvalidArchive */
export async function openTar(path: string, signal: AbortSignal): Promise<TarIndex> {
  const file = await openRegularFile(path);
  try {
    return new TarIndex(path, file, await indexEntries(file, path, signal));
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openRegularFile(path: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw new ContainerdError("InvalidArchive", `the archive ${path} cannot be opened: ${(error as Error).message}`, { cause: error });
  }
  const { isFile } = await file.stat().then((stat) => ({ isFile: stat.isFile() }));
  if (isFile) return file;
  await file.close();
  throw invalid(path, "it is no regular file");
}

async function indexEntries(file: FileHandle, path: string, signal: AbortSignal): Promise<ReadonlyMap<string, TarEntry>> {
  const fileBytes = (await file.stat()).size;
  const entries = new Map<string, TarEntry>();
  const links = new Map<string, string>();
  let extension: { name?: string; sizeBytes?: number; link?: string } = {};
  for (let at = 0; at + BLOCK_BYTES <= fileBytes; ) {
    signal.throwIfAborted();
    const header = await readExactly(file, path, at, BLOCK_BYTES);
    if (header.every((byte) => byte === 0)) break;
    if (!hasValidChecksum(header))
      throw invalid(path, `no tar header at byte ${at}${looksCompressed(header) ? ": it is compressed, unpack it first" : ""}`);
    const type = String.fromCharCode(header[156]!);
    const sizeBytes =
      type === "x" || type === "g" || type === "L" || type === "K" ? sizeOf(header) : (extension.sizeBytes ?? sizeOf(header));
    const offset = at + BLOCK_BYTES;
    if (!Number.isSafeInteger(sizeBytes) || offset + sizeBytes > fileBytes)
      throw invalid(path, `the entry at byte ${at} reaches beyond its end`);
    at = offset + Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
    if (type === "g") continue;
    if (type === "x" || type === "L" || type === "K") {
      if (sizeBytes > MAX_EXTENSION_BYTES) throw invalid(path, `the header at byte ${offset} is too long`);
      const content = await readExactly(file, path, offset, sizeBytes);
      extension = { ...extension, ...(type === "x" ? paxRecords(content) : { [type === "L" ? "name" : "link"]: text(content) }) };
      continue;
    }
    const name = posix.normalize(extension.name ?? nameOf(header));
    if (REGULAR_FILES.has(type)) entries.set(name, { offset, sizeBytes });
    if (type === "1") links.set(name, posix.normalize(extension.link ?? text(header.subarray(157, 257))));
    if (type === "2") links.set(name, posix.join(posix.dirname(name), extension.link ?? text(header.subarray(157, 257))));
    if (entries.size + links.size > MAX_ENTRIES) throw invalid(path, `it has more than ${MAX_ENTRIES} entries`);
    extension = {};
  }
  // Old `docker save` stores a layer once and links to it; a link is only another name inside the archive.
  for (const [name, target] of links) {
    const entry = entries.get(target);
    if (entry !== undefined && !entries.has(name)) entries.set(name, entry);
  }
  return entries;
}

async function readExactly(file: FileHandle, path: string, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  for (let have = 0; have < length; ) {
    const { bytesRead } = await file.read(buffer, have, length - have, position + have);
    if (bytesRead === 0) throw invalid(path, "it ends early: it was cut while being read");
    have += bytesRead;
  }
  return buffer;
}

function looksCompressed(header: Buffer): boolean {
  return (header[0] === 0x1f && header[1] === 0x8b) || (header[0] === 0x28 && header[1] === 0xb5);
}

function invalid(path: string, why: string): ContainerdError {
  return new ContainerdError("InvalidArchive", `the archive ${path} cannot be read: ${why}`);
}
