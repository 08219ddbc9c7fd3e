/** containerd as the steps need it: its own API for import and labels, CRI for what the kubelet would see. */

export interface ImageRecord {
  /** As containerd names it: "registry.k8s.io/pause:3.9". */
  readonly name: string;
  /** Of the manifest or index: "sha256:<hex>". */
  readonly digest: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface CriImage {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly sizeBytes: number;
  /** Always false where the runtime does not know pins (containerd 1.6). */
  readonly isPinned: boolean;
}

export interface TransferProgress {
  readonly doneBytes: number;
  /** 0: not known yet. */
  readonly totalBytes: number;
}

/** What a pod runs in. */
export interface PodSandbox {
  readonly id: string;
  /** "namespace/name" of its pod. */
  readonly pod: string;
}

/** Every call may throw ContainerdError, or the signal's reason when it is aborted. */
export interface Containerd {
  /** "1.6.20". */
  version(signal: AbortSignal): Promise<string>;
  /** CRI's RuntimeReady condition and its message. */
  criStatus(signal: AbortSignal): Promise<{ readonly isReady: boolean; readonly message: string }>;
  /** Absolute path in whose file system images are kept. */
  storagePath(signal: AbortSignal): Promise<string>;
  /** In namespace k8s.io. */
  listImages(signal: AbortSignal): Promise<readonly ImageRecord[]>;
  listCriImages(signal: AbortSignal): Promise<readonly CriImage[]>;
  /** Through CRI, by "name@digest"; progress is read from the content store's ingests. */
  pull(reference: string, onProgress: (progress: TransferProgress) => void, signal: AbortSignal): Promise<void>;
  /**
   * Brings that digest, and nothing else, out of an OCI or docker archive, unpacks it and gives it that name.
   * Blobs that are there already are skipped, half-written ones continued.
   */
  importArchive(
    path: string,
    image: Pick<ImageRecord, "name" | "digest">,
    onProgress: (progress: TransferProgress) => void,
    signal: AbortSignal,
  ): Promise<void>;
  /** Creates the name for that digest, or moves it; labels are merged, undefined values removed. */
  putImage(name: string, digest: string, labels: Readonly<Record<string, string | undefined>>, signal: AbortSignal): Promise<void>;
  /** Of these manifest or index digests: those whose blobs for this platform are all in the content store, and unpacked. */
  findComplete(digests: readonly string[], signal: AbortSignal): Promise<ReadonlySet<string>>;
  /**
   * Reads what the content store has of these images, and removes the blobs that are not what their digest says, so that a pull brings
   * them anew. What a damaged document names is found only once that is back: ask again. @returns digests of what was removed
   */
  dropDamaged(
    digests: readonly string[],
    onProgress: (progress: TransferProgress) => void,
    signal: AbortSignal,
  ): Promise<readonly string[]>;
  /** Through CRI; also those that do not run. */
  listSandboxes(signal: AbortSignal): Promise<readonly PodSandbox[]>;
  /** Through CRI, with the containers in it; takes its network down. No error when absent. */
  removeSandbox(id: string, signal: AbortSignal): Promise<void>;
  close(): void;
}

export type ContainerdErrorCode =
  /** Nobody answers on the socket, or the connection broke. */
  | "Unavailable"
  | "DeadlineExceeded"
  /** A pull or import that moved no byte for too long. */
  | "Stalled"
  | "NotFound"
  | "AlreadyExists"
  /** This containerd has no such service. */
  | "Unsupported"
  /** The archive cannot be read as one. */
  | "InvalidArchive"
  | "DigestNotInArchive"
  /** Content is not what its digest says. */
  | "DigestMismatch"
  /** A manifest or configuration that cannot be read. */
  | "InvalidImage"
  /** containerd answered with another error. */
  | "Failed";

export class ContainerdError extends Error {
  override readonly name = "ContainerdError";
  readonly code: ContainerdErrorCode;

  constructor(code: ContainerdErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
