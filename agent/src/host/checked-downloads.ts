/** Files by digest from URLs or paths, and members of tar archives, all written under a root. */
import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { posix } from "node:path";
import { pipeline, type Readable } from "node:stream";
import type { Clock } from "@drover/lifecycle";
import type { TransferProgress } from "./containerd-port.ts";
import { type Download, DownloadFailed, type Downloads, type ExtractedMember, shownSource } from "./download-port.ts";
import { type HttpBody, openUrl } from "./http-source.ts";
import type { RootedFiles } from "./rooted-files.ts";
import { tarMembers } from "./tar-members.ts";

const CHUNK_BYTES = 2 ** 18;
const MAX_BYTES = 16 * 2 ** 30;
const MAX_MEMBER_BYTES = 2 * 2 ** 30;

export class CheckedDownloads implements Downloads {
  readonly #files: RootedFiles;
  readonly #clock: Clock;

  constructor(files: RootedFiles, clock: Clock) {
    this.#files = files;
    this.#clock = clock;
  }

  async fetch(download: Download, path: string, onProgress: (progress: TransferProgress) => void, signal: AbortSignal): Promise<void> {
    try {
      await using file = await this.#files.open(path, "append");
      await this.#complete(file, download, onProgress, signal);
      await file.chmod(download.mode);
      await file.sync();
    } catch (error) {
      if (error instanceof DownloadFailed && error.reason === "DigestMismatch") await this.#files.remove(path);
      throw failureOf(error, path);
    }
  }

  async extract(
    archive: string,
    members: readonly { readonly member: string; readonly path: string }[],
    signal: AbortSignal,
  ): Promise<readonly ExtractedMember[]> {
    const missing = new Map(members.map((each) => [posix.normalize(each.member), each]));
    const extracted: ExtractedMember[] = [];
    const seen: string[] = [];
    try {
      await using file = await this.#files.open(archive, "read");
      for await (const { name, isRegular, sizeBytes, content } of tarMembers(await bytesOf(file))) {
        signal.throwIfAborted();
        if (isRegular && seen.length < 10) seen.push(name);
        const wanted = missing.get(name);
        if (wanted === undefined) continue;
        if (!isRegular) throw new DownloadFailed("ArchiveInvalid", `${name} in it is no regular file`);
        if (sizeBytes > MAX_MEMBER_BYTES)
          throw new DownloadFailed("ArchiveInvalid", `${name} in it is larger than ${MAX_MEMBER_BYTES} bytes`);
        const hash = createHash("sha256");
        await this.#files.writeFrom(wanted.path, hashed(content, hash, signal), 0o755);
        extracted.push({ member: wanted.member, digest: `sha256:${hash.digest("hex")}` });
        missing.delete(name);
        if (missing.size === 0) return extracted;
      }
    } catch (error) {
      throw failureOf(error, archive);
    }
    const has = seen.length === 0 ? "no files" : seen.join(", ");
    throw new DownloadFailed("MemberMissing", `the archive has no ${[...missing.keys()].join(", ")}; it has ${has}`);
  }

  /** The file holds what has the digest, whatever it held before. */
  async #complete(
    file: FileHandle,
    { source, digest, sizeBytes }: Download,
    onProgress: (progress: TransferProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    let { hash, have } = await hashOf(file, signal);
    if (isDigest(hash, digest)) return;
    if (sizeBytes > 0 && have >= sizeBytes) [hash, have] = [await emptied(file), 0];
    for (;;) {
      const resumedAt = have;
      const body = await this.#open(source, have, signal);
      if (body === undefined || body.from !== have) [hash, have] = [await emptied(file), 0];
      if (body === undefined) continue;
      const totalBytes = sizeBytes || (body.totalBytes ?? 0);
      try {
        const isOther = sizeBytes > 0 && body.totalBytes !== undefined && body.totalBytes !== sizeBytes;
        if (isOther) throw mismatch(source, `it has ${body.totalBytes} bytes, not ${sizeBytes}`);
        for await (const chunk of body.chunks) {
          signal.throwIfAborted();
          if (have + chunk.length > (sizeBytes || MAX_BYTES)) throw mismatch(source, `it has more than ${sizeBytes || MAX_BYTES} bytes`);
          await writeAll(file, chunk, have);
          hash.update(chunk);
          have += chunk.length;
          onProgress({ doneBytes: have, totalBytes });
        }
      } finally {
        body.close();
      }
      if (isDigest(hash, digest)) return;
      const got = `sha256:${hash.copy().digest("hex")}`;
      // What was there before may have been torn by a power cut: the source is only blamed for what it gave as a whole.
      if (resumedAt === 0 || body.from === 0) throw mismatch(source, `it is ${got}, not ${digest}`);
      [hash, have] = [await emptied(file), 0];
    }
  }

  async #open(source: string, from: number, signal: AbortSignal): Promise<HttpBody | undefined> {
    if (!source.startsWith("/")) return openUrl(source, from, this.#clock, signal);
    try {
      const file = await this.#files.open(source, "read");
      const { size } = await file.stat();
      const chunks = file.createReadStream({ start: from, highWaterMark: CHUNK_BYTES });
      return { from, totalBytes: size, chunks, close: () => void chunks.destroy() };
    } catch (error) {
      throw new DownloadFailed("SourceUnreachable", `${source} cannot be read: ${(error as Error).message}`, { cause: error });
    }
  }
}

async function bytesOf(file: FileHandle): Promise<AsyncIterable<Buffer>> {
  const magic = Buffer.alloc(2);
  await file.read(magic, 0, 2, 0);
  const raw: Readable = file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK_BYTES });
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) return raw;
  const { createGunzip } = await import("node:zlib");
  return pipeline(raw, createGunzip({ chunkSize: CHUNK_BYTES }), () => undefined);
}

async function hashOf(file: FileHandle, signal: AbortSignal): Promise<{ hash: Hash; have: number }> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let have = 0; ; ) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.length, have);
    if (bytesRead === 0) return { hash, have };
    hash.update(buffer.subarray(0, bytesRead));
    have += bytesRead;
  }
}

async function emptied(file: FileHandle): Promise<Hash> {
  await file.truncate(0);
  return createHash("sha256");
}

async function writeAll(file: FileHandle, chunk: Buffer, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done, chunk.length - done, position + done)).bytesWritten;
}

async function* hashed(content: AsyncIterable<Buffer>, hash: Hash, signal: AbortSignal): AsyncGenerator<Buffer> {
  for await (const chunk of content) {
    signal.throwIfAborted();
    hash.update(chunk);
    yield chunk;
  }
}

function isDigest(hash: Hash, digest: string): boolean {
  return `sha256:${hash.copy().digest("hex")}` === digest;
}

function mismatch(source: string, why: string): DownloadFailed {
  return new DownloadFailed("DigestMismatch", `${shownSource(source)} is not what was asked for: ${why}`);
}

function failureOf(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") return new DownloadFailed("DiskFull", `no space is left for ${path}`, { cause: error });
  if (typeof code === "string" && code.startsWith("Z_"))
    return new DownloadFailed("ArchiveInvalid", `${path}: ${message}`, { cause: error });
  return error;
}
