/** Files that come from elsewhere, known by their digest, and what is taken out of archives. */
import type { TransferProgress } from "./containerd-port.ts";

export interface Download {
  /** An http or https URL, or an absolute path inside the root. */
  readonly source: string;
  /** "sha256:<hex>". */
  readonly digest: string;
  /** 0: not known. */
  readonly sizeBytes: number;
  /** Of the file when it is complete. */
  readonly mode: number;
}

export interface ExtractedMember {
  readonly member: string;
  /** "sha256:<hex>" of what was written. */
  readonly digest: string;
}

/** Every call may throw DownloadFailed, or the signal's reason when it is aborted. */
export interface Downloads {
  /**
   * Brings source to path, checked while it comes, durable when the promise resolves. What an earlier call that was cut off has
   * left at path is gone on with; what turns out to be something else is removed.
   */
  fetch(download: Download, path: string, onProgress: (progress: TransferProgress) => void, signal: AbortSignal): Promise<void>;
  /**
   * Regular files out of a tar (plain or gzip), each whole and durable at its path with mode 0755. No other name of the archive
   * is ever used as a path.
   */
  extract(
    archive: string,
    members: readonly { readonly member: string; readonly path: string }[],
    signal: AbortSignal,
  ): Promise<readonly ExtractedMember[]>;
}

export type DownloadFailure =
  /** The network, the server or the node's own path does not give it now. */
  | "SourceUnreachable"
  /** The server says that it will not give it. */
  | "SourceRefused"
  /** What lies at source is something else. */
  | "DigestMismatch"
  | "ArchiveInvalid"
  | "MemberMissing"
  | "DiskFull";

export class DownloadFailed extends Error {
  override readonly name = "DownloadFailed";
  readonly reason: DownloadFailure;

  constructor(reason: DownloadFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** Of a source, for people: without what may be secret in a URL. */
export function shownSource(source: string): string {
  if (source.startsWith("/") || !URL.canParse(source)) return source.startsWith("/") ? source : "a malformed URL";
  const { origin, pathname } = new URL(source);
  return `${origin}${pathname}`;
}
