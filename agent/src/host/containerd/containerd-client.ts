/** The Containerd port on the real one's unix socket. */
import { arch } from "node:os";
import { type Clock, type Random, systemClock, systemRandom } from "@drover/lifecycle";
import {
  type Containerd,
  ContainerdError,
  type CriImage,
  type ImageRecord,
  type PodSandbox,
  type TransferProgress,
} from "../containerd-port.ts";
import { Connection } from "./connection.ts";
import { ContentStore } from "./content-store.ts";
import { dropDamaged } from "./damaged-content.ts";
import { type Image, ImagesService } from "./gen/containerd/services/images.ts";
import { NamespacesService } from "./gen/containerd/services/namespaces.ts";
import { VersionService } from "./gen/containerd/services/version.ts";
import { ImageServiceService, RuntimeServiceService } from "./gen/cri/runtime.ts";
import { ImageContents } from "./image-content.ts";
import { importArchive } from "./import-archive.ts";
import type { Platform } from "./manifest.ts";
import { watchedPull } from "./watched-pull.ts";

export interface ContainerdClientOptions {
  /** Default "/run/containerd/containerd.sock". */
  readonly socketPath?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Default: this machine's. */
  readonly platform?: Platform;
}

const SNAPSHOTTER_IN_PATH = /io\.containerd\.snapshotter\.v1\.([A-Za-z0-9_-]+)/;
const DEFAULT_SNAPSHOTTER = "overlayfs";
const GO_ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };

export class ContainerdClient implements Containerd {
  readonly #connection: Connection;
  readonly #content: ContentStore;
  readonly #contents: ImageContents;
  readonly #random: Random;
  readonly #platform: Platform;

  constructor(options: ContainerdClientOptions = {}) {
    this.#random = options.random ?? systemRandom;
    this.#platform = options.platform ?? { os: "linux", architecture: GO_ARCHITECTURES[arch()] ?? arch() };
    this.#connection = new Connection(options.socketPath ?? "/run/containerd/containerd.sock", options.clock ?? systemClock);
    this.#content = new ContentStore(this.#connection);
    this.#contents = new ImageContents(this.#connection, this.#content, this.#platform);
  }

  async version(signal: AbortSignal): Promise<string> {
    const { version } = await this.#connection.unary(VersionService.version, {}, { signal });
    // "1.6.20~ds1" in Debian, "v2.1.0" from upstream's builds.
    return /\d+\.\d+(\.\d+)?/.exec(version)?.[0] ?? version;
  }

  async criStatus(signal: AbortSignal): Promise<{ readonly isReady: boolean; readonly message: string }> {
    const { status } = await this.#connection.unary(RuntimeServiceService.status, { verbose: false }, { signal });
    const ready = status?.conditions.find((condition) => condition.type === "RuntimeReady");
    if (ready === undefined) return { isReady: false, message: "CRI tells no RuntimeReady condition" };
    return { isReady: ready.status, message: [ready.reason, ready.message].filter((part) => part !== "").join(": ") };
  }

  async storagePath(signal: AbortSignal): Promise<string> {
    const { imageFilesystems } = await this.#connection.unary(ImageServiceService.imageFsInfo, {}, { signal });
    const path = imageFilesystems[0]?.fsId?.mountpoint;
    if (path === undefined || path === "") throw new ContainerdError("Failed", "CRI does not tell where it keeps images");
    return path;
  }

  async listImages(signal: AbortSignal): Promise<readonly ImageRecord[]> {
    const { images } = await this.#connection.unary(ImagesService.list, { filters: [] }, { signal });
    return images.map((image) => ({ name: image.name, digest: image.target?.digest ?? "", labels: image.labels }));
  }

  async listCriImages(signal: AbortSignal): Promise<readonly CriImage[]> {
    const { images } = await this.#connection.unary(ImageServiceService.listImages, {}, { signal });
    return images.map(({ id, repoTags, repoDigests, size, pinned }) => ({ id, repoTags, repoDigests, sizeBytes: size, isPinned: pinned }));
  }

  pull(reference: string, onProgress: (progress: TransferProgress) => void, signal: AbortSignal): Promise<void> {
    return watchedPull(this.#connection, this.#content, this.#contents, reference, onProgress, signal);
  }

  async importArchive(
    path: string,
    image: Pick<ImageRecord, "name" | "digest">,
    onProgress: (progress: TransferProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#createNamespace(signal);
    const importing = {
      path,
      digest: image.digest,
      snapshotter: await this.#snapshotter(signal),
      platform: this.#platform,
      onProgress,
      name: () => this.putImage(image.name, image.digest, {}, signal),
    };
    await importArchive(this.#connection, this.#random, importing, signal);
  }

  async putImage(name: string, digest: string, labels: Readonly<Record<string, string | undefined>>, signal: AbortSignal): Promise<void> {
    const kept = Object.fromEntries(Object.entries(labels).filter((entry): entry is [string, string] => entry[1] !== undefined));
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    const content = await this.#contents.find(digest, { signal });
    if (content === undefined) return this.#relabel({ name, labels: kept, target: undefined }, digest, paths, signal);
    const target = { mediaType: content.mediaType, digest, size: content.sizeBytes, annotations: {} };
    const image: Image = { name, target, labels: kept };
    try {
      await this.#connection.unary(ImagesService.update, { image, updateMask: { paths: ["target", ...paths] } }, { signal });
    } catch (error) {
      if (!(error instanceof ContainerdError && error.code === "NotFound")) throw error;
      await this.#connection.unary(ImagesService.create, { image }, { signal });
    }
  }

  /** An image that lost its content can still be unpinned; a name is never pointed at what is not there. */
  async #relabel(image: Image, digest: string, paths: readonly string[], signal: AbortSignal): Promise<void> {
    const record = (await this.listImages(signal)).find((each) => each.name === image.name);
    if (record?.digest !== digest)
      throw new ContainerdError("NotFound", `${image.name} cannot be made: containerd does not have ${digest}`);
    await this.#connection.unary(ImagesService.update, { image, updateMask: { paths: [...paths] } }, { signal });
  }

  async findComplete(digests: readonly string[], signal: AbortSignal): Promise<ReadonlySet<string>> {
    if (digests.length === 0) return new Set();
    return this.#contents.findComplete(digests, await this.#snapshotter(signal), { signal });
  }

  async dropDamaged(
    digests: readonly string[],
    onProgress: (progress: TransferProgress) => void,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const parts = {
      connection: this.#connection,
      content: this.#content,
      platform: this.#platform,
      random: this.#random,
      snapshotter: await this.#snapshotter(signal),
    };
    return dropDamaged(parts, digests, onProgress, signal);
  }

  async listSandboxes(signal: AbortSignal): Promise<readonly PodSandbox[]> {
    const { items } = await this.#connection.unary(RuntimeServiceService.listPodSandbox, {}, { signal });
    return items.map(({ id, metadata }) => ({ id, pod: `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}` }));
  }

  async removeSandbox(id: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#connection.unary(RuntimeServiceService.stopPodSandbox, { podSandboxId: id }, { signal });
      await this.#connection.unary(RuntimeServiceService.removePodSandbox, { podSandboxId: id }, { signal });
    } catch (error) {
      if (!(error instanceof ContainerdError && error.code === "NotFound")) throw error;
    }
  }

  close(): void {
    this.#connection.close();
  }

  /** CRI tells where it unpacks to; that path names its snapshotter in 1.6 as in 2.x, where its configuration does not look alike. */
  async #snapshotter(signal: AbortSignal): Promise<string> {
    return SNAPSHOTTER_IN_PATH.exec(await this.storagePath(signal))?.[1] ?? DEFAULT_SNAPSHOTTER;
  }

  /** CRI makes its namespace with its first pull; an import may come before that. */
  async #createNamespace(signal: AbortSignal): Promise<void> {
    try {
      await this.#connection.unary(NamespacesService.create, { namespace: { name: "k8s.io", labels: {} } }, { signal });
    } catch (error) {
      if (!(error instanceof ContainerdError && error.code === "AlreadyExists")) throw error;
    }
  }
}
