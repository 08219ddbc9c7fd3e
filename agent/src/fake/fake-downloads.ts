/** Sources in memory, written into the fake machine's files. */
import { createHash } from "node:crypto";
import type { TransferProgress } from "../host/containerd-port.ts";
import { type Download, DownloadFailed, type Downloads, type ExtractedMember } from "../host/download-port.ts";
import type { EffectLog } from "./effect-log.ts";
import type { FakeFiles } from "./fake-files.ts";

/** What lies at a source: a file's content, or an archive's members. */
export type FakeSource = string | Readonly<Record<string, string>>;

export class FakeDownloads implements Downloads {
  readonly #effects: EffectLog;
  readonly #files: FakeFiles;
  readonly #sources: Map<string, FakeSource>;

  constructor(effects: EffectLog, files: FakeFiles, sources: Readonly<Record<string, FakeSource>>) {
    this.#effects = effects;
    this.#files = files;
    this.#sources = new Map(Object.entries(sources));
  }

  /** By the test's hand; undefined: nothing is there any more. */
  serve(source: string, content: FakeSource | undefined): void {
    if (content === undefined) this.#sources.delete(source);
    else this.#sources.set(source, content);
  }

  async fetch(download: Download, path: string, onProgress: (progress: TransferProgress) => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if ((await this.#files.digest(path)) === download.digest) return;
    this.#effects.record("downloads.fetch", download.source, path);
    const source = this.#sources.get(download.source);
    if (source === undefined) throw new DownloadFailed("SourceUnreachable", `${download.source}: nobody answers`);
    const bytes = bytesOf(source);
    onProgress({ doneBytes: bytes.length, totalBytes: download.sizeBytes || bytes.length });
    if (digestOf(bytes) !== download.digest) throw new DownloadFailed("DigestMismatch", `${download.source} is not what was asked for`);
    this.#files.put(path, { content: bytes, mode: download.mode });
  }

  async extract(
    archive: string,
    members: readonly { readonly member: string; readonly path: string }[],
    signal: AbortSignal,
  ): Promise<readonly ExtractedMember[]> {
    signal.throwIfAborted();
    const content = JSON.parse(this.#files.text(archive) ?? "{}") as Record<string, string>;
    const extracted: ExtractedMember[] = [];
    for (const { member, path } of members) {
      const text = content[member];
      if (text === undefined) throw new DownloadFailed("MemberMissing", `the archive has no ${member}`);
      await this.#files.write(path, text, 0o755);
      extracted.push({ member, digest: digestOf(text) });
    }
    return extracted;
  }
}

/** "sha256:<hex>" of what a fake source gives. */
export function fakeSourceDigest(source: FakeSource): string {
  return digestOf(bytesOf(source));
}

function bytesOf(source: FakeSource): Buffer {
  return Buffer.from(typeof source === "string" ? source : JSON.stringify(source));
}

function digestOf(content: string | Buffer): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}
