/** Single files out of a tar that is read once from front to end, compressed or not. */
import { posix } from "node:path";
import { DownloadFailed } from "./download-port.ts";
import { hasValidChecksum, MAX_EXTENSION_BYTES, nameOf, paxRecords, REGULAR_FILES, sizeOf, TAR_BLOCK_BYTES, text } from "./tar-header.ts";

export interface TarMember {
  readonly name: string;
  readonly isRegular: boolean;
  readonly sizeBytes: number;
  /** To be read, if at all, before the next member is asked for. */
  readonly content: AsyncGenerator<Buffer>;
}

/** @throws DownloadFailed ArchiveInvalid */
export async function* tarMembers(chunks: AsyncIterable<Buffer>): AsyncGenerator<TarMember> {
  const bytes = new ByteReader(chunks);
  let extension: { name?: string; sizeBytes?: number } = {};
  for (;;) {
    const header = await bytes.upTo(TAR_BLOCK_BYTES);
    if (header.length < TAR_BLOCK_BYTES || header.every((byte) => byte === 0)) return;
    if (!hasValidChecksum(header)) throw new DownloadFailed("ArchiveInvalid", "it is no tar archive, plain or gzip");
    const type = String.fromCharCode(header[156]!);
    const isExtension = type === "x" || type === "g" || type === "L" || type === "K";
    const sizeBytes = isExtension ? sizeOf(header) : (extension.sizeBytes ?? sizeOf(header));
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw new DownloadFailed("ArchiveInvalid", "an entry has no size");
    const padding = (TAR_BLOCK_BYTES - (sizeBytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES;
    if (isExtension) {
      if (sizeBytes > MAX_EXTENSION_BYTES) throw new DownloadFailed("ArchiveInvalid", "a header of it is too long");
      const content = await bytes.upTo(sizeBytes);
      if (type === "x") extension = { ...extension, ...paxRecords(content) };
      if (type === "L") extension = { ...extension, name: text(content) };
      await bytes.upTo(padding);
      continue;
    }
    const content = bytes.exactly(sizeBytes);
    yield { name: posix.normalize(extension.name ?? nameOf(header)), isRegular: REGULAR_FILES.has(type), sizeBytes, content };
    extension = {};
    for await (const _skipped of content);
    await bytes.upTo(padding);
  }
}

class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Fewer only at the end. */
  async upTo(count: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let missing = count; missing > 0; ) {
      const part = await this.#some(missing);
      if (part === undefined) break;
      parts.push(part);
      missing -= part.length;
    }
    return Buffer.concat(parts);
  }

  async *exactly(count: number): AsyncGenerator<Buffer> {
    for (let missing = count; missing > 0; ) {
      const part = await this.#some(missing);
      if (part === undefined) throw new DownloadFailed("ArchiveInvalid", "it ends early");
      missing -= part.length;
      yield part;
    }
  }

  async #some(atMost: number): Promise<Buffer | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#rest = Buffer.from(next.value);
    }
    const part = this.#rest.subarray(0, atMost);
    this.#rest = this.#rest.subarray(part.length);
    return part;
  }
}
