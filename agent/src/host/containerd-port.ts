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
  readonly totalBytes: number;
}

export interface Containerd {
  /** "1.6.20". @throws when containerd does not answer */
  version(signal: AbortSignal): Promise<string>;
  /** CRI's RuntimeReady condition and its message. @throws when CRI does not answer */
  criStatus(signal: AbortSignal): Promise<{ readonly isReady: boolean; readonly message: string }>;
  /** In namespace k8s.io. */
  listImages(signal: AbortSignal): Promise<readonly ImageRecord[]>;
  listCriImages(signal: AbortSignal): Promise<readonly CriImage[]>;
  /** Through CRI, by "name@digest"; progress is read from the content store's ingests. */
  pull(reference: string, onProgress: (progress: TransferProgress) => void, signal: AbortSignal): Promise<void>;
  /** Imports an OCI or docker archive; gives the names it brought with their digests. */
  importArchive(path: string, onProgress: (progress: TransferProgress) => void, signal: AbortSignal): Promise<readonly ImageRecord[]>;
  /** Creates the name for that digest, or moves it; labels are merged, undefined values removed. */
  putImage(name: string, digest: string, labels: Readonly<Record<string, string | undefined>>, signal: AbortSignal): Promise<void>;
  /** Whether all blobs that the manifest at digest names for this platform are in the content store, and unpacked. */
  isComplete(digest: string, signal: AbortSignal): Promise<boolean>;
  close(): void;
}
