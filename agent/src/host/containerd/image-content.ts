/** An image as its blobs: what a digest consists of on this platform, and whether that is all there. */
import { ContainerdError } from "../containerd-port.ts";
import type { CallOptions, Connection } from "./connection.ts";
import type { ContentStore } from "./content-store.ts";
import type { Info } from "./gen/containerd/services/content.ts";
import { Kind, SnapshotsService } from "./gen/containerd/services/snapshots.ts";
import { chainIds, type Descriptor, diffIdsOf, forPlatform, parseManifest, type Platform } from "./manifest.ts";

export interface ImageContent {
  /** Media type of what the image's name points to. */
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** Of the platform's own manifest; equals the image's digest where there is no index. */
  readonly manifest: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

const MAX_CACHED = 1000;

export class ImageContents {
  readonly #connection: Connection;
  readonly #content: ContentStore;
  readonly #platform: Platform;
  // Digests never change what they name, so what was read once is not read at each drift scan.
  readonly #contents = new Map<string, ImageContent>();
  readonly #chains = new Map<string, readonly string[]>();

  constructor(connection: Connection, content: ContentStore, platform: Platform) {
    this.#connection = connection;
    this.#content = content;
    this.#platform = platform;
  }

  /** undefined: its documents are not all there. */
  async find(digest: string, options: CallOptions): Promise<ImageContent | undefined> {
    const known = this.#contents.get(digest);
    if (known !== undefined) return known;
    const top = await this.#read(digest, options);
    if (top === undefined) return undefined;
    const document = parseManifest(top, digest);
    if (document.kind === "manifest") {
      const { mediaType, config, layers } = document;
      return remember(this.#contents, digest, { mediaType, sizeBytes: top.length, manifest: digest, config, layers });
    }
    const { digest: manifest } = forPlatform(document, this.#platform, digest);
    const bytes = await this.#read(manifest, options);
    if (bytes === undefined) return undefined;
    const child = parseManifest(bytes, manifest);
    if (child.kind !== "manifest") throw new ContainerdError("InvalidImage", `${digest}: ${manifest} is no image manifest`);
    return remember(this.#contents, digest, {
      mediaType: document.mediaType,
      sizeBytes: top.length,
      manifest,
      config: child.config,
      layers: child.layers,
    });
  }

  /** Names of the snapshots the image unpacks to, lowest first; undefined when its configuration is not there. */
  async chain(config: Descriptor, options: CallOptions): Promise<readonly string[] | undefined> {
    const known = this.#chains.get(config.digest);
    if (known !== undefined) return known;
    const bytes = await this.#read(config.digest, options);
    return bytes === undefined ? undefined : remember(this.#chains, config.digest, chainIds(diffIdsOf(bytes, config.digest)));
  }

  /** undefined, too, when it went meanwhile or a power cut left containerd its record only: either way the image is not all there. */
  async #read(digest: string, options: CallOptions): Promise<Buffer | undefined> {
    try {
      return await this.#content.readDocument(digest, options);
    } catch (error) {
      if (error instanceof ContainerdError && error.code === "NotFound") return undefined;
      throw error;
    }
  }

  /** Two lists answer for all of them: asking image by image costs a drift scan ten times as much. */
  async findComplete(digests: readonly string[], snapshotter: string, options: CallOptions): Promise<ReadonlySet<string>> {
    const there = await this.#content.list([], options);
    const snapshots = await committedSnapshots(this.#connection, snapshotter, options);
    const complete = new Set<string>();
    for (const digest of digests) if (await this.#isComplete(digest, there, snapshots, options)) complete.add(digest);
    return complete;
  }

  async #isComplete(
    digest: string,
    there: ReadonlyMap<string, Info>,
    snapshots: ReadonlySet<string>,
    options: CallOptions,
  ): Promise<boolean> {
    if (!there.has(digest)) return false;
    const image = await this.find(digest, options);
    const manifest = image === undefined ? undefined : there.get(image.manifest);
    if (image === undefined || manifest === undefined || !there.has(image.config.digest)) return false;
    // Where CRI is told to discard unpacked layers it keeps no reference to them, and they are not missed.
    const kept = new Set(Object.values(manifest.labels));
    if (image.layers.some((layer) => kept.has(layer.digest) && there.get(layer.digest)?.size !== layer.sizeBytes)) return false;
    const chain = await this.chain(image.config, options);
    if (chain === undefined) return false;
    const top = chain.at(-1);
    return top === undefined || snapshots.has(top);
  }
}

async function committedSnapshots(connection: Connection, snapshotter: string, options: CallOptions): Promise<ReadonlySet<string>> {
  const answers = await connection.collect(SnapshotsService.list, { snapshotter, filters: [] }, options);
  return new Set(answers.flatMap((answer) => answer.info.filter((info) => info.kind === Kind.COMMITTED).map((info) => info.name)));
}

export async function hasSnapshot(connection: Connection, snapshotter: string, key: string, options: CallOptions): Promise<boolean> {
  try {
    await connection.unary(SnapshotsService.stat, { snapshotter, key }, options);
    return true;
  } catch (error) {
    if (error instanceof ContainerdError && error.code === "NotFound") return false;
    throw error;
  }
}

function remember<T>(cache: Map<string, T>, key: string, value: T): T {
  if (cache.size >= MAX_CACHED) cache.clear();
  cache.set(key, value);
  return value;
}
