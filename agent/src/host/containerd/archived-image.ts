/** One image in an archive: OCI layouts have it by digest; for a docker archive the manifest is made as `ctr images import` makes it. */
import { createHash } from "node:crypto";
import { ContainerdError } from "../containerd-port.ts";
import type { BlobSource } from "./content-store.ts";
import { type Descriptor, digestOf, forPlatform, isDigest, type ManifestDocument, parseManifest, type Platform } from "./manifest.ts";
import type { TarEntry, TarIndex } from "./tar-index.ts";

export interface ArchivedImage {
  /** Present when the digest is an index. */
  readonly index: { readonly digest: string; readonly bytes: Buffer } | undefined;
  readonly manifest: {
    readonly digest: string;
    readonly bytes: Buffer;
    readonly document: Extract<ManifestDocument, { kind: "manifest" }>;
  };
  /** Configuration first, then layers; what is not in the archive is left out. */
  readonly blobs: readonly BlobSource[];
}

const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
const NAMED_IN_ERRORS = 10;

/** @throws ContainerdError DigestNotInArchive, InvalidArchive, InvalidImage, DigestMismatch */
export async function findArchivedImage(tar: TarIndex, digest: string, platform: Platform, signal: AbortSignal): Promise<ArchivedImage> {
  const top = await readBlob(tar, digest);
  if (top !== undefined) return ociImage(tar, digest, top, platform);
  const docker = await dockerImages(tar, signal);
  const found = docker.find((image) => image.manifest.digest === digest);
  if (found !== undefined) return found;
  const there = [...(await ociDigests(tar)), ...docker.map((image) => image.manifest.digest)];
  const shown = there.slice(0, NAMED_IN_ERRORS).join(", ");
  throw new ContainerdError(
    "DigestNotInArchive",
    `the archive ${tar.path} does not have ${digest}; it has ${there.length === 0 ? "no image" : shown}${there.length > NAMED_IN_ERRORS ? ", ..." : ""}`,
  );
}

async function ociImage(tar: TarIndex, digest: string, top: Buffer, platform: Platform): Promise<ArchivedImage> {
  const document = parseManifest(top, digest);
  if (document.kind === "manifest") return withBlobs(tar, undefined, { digest, bytes: top, document });
  const child = forPlatform(document, platform, digest);
  const bytes = await readBlob(tar, child.digest);
  if (bytes === undefined)
    throw new ContainerdError("InvalidArchive", `the archive ${tar.path} names ${child.digest} but does not have it`);
  const manifest = parseManifest(bytes, child.digest);
  if (manifest.kind !== "manifest") throw new ContainerdError("InvalidImage", `${child.digest} is no image manifest`);
  return withBlobs(tar, { digest, bytes: top }, { digest: child.digest, bytes, document: manifest });
}

function withBlobs(tar: TarIndex, index: ArchivedImage["index"], manifest: ArchivedImage["manifest"]): ArchivedImage {
  const { config, layers } = manifest.document;
  const blobs = [config, ...layers].flatMap((blob) => {
    const entry = tar.entry(blobPath(blob.digest));
    if (entry === undefined) return [];
    if (entry.sizeBytes !== blob.sizeBytes) {
      throw new ContainerdError(
        "DigestMismatch",
        `${blob.digest} in ${tar.path} has ${entry.sizeBytes} bytes instead of ${blob.sizeBytes}`,
      );
    }
    return [source(tar, blob, entry)];
  });
  return { index, manifest, blobs };
}

async function ociDigests(tar: TarIndex): Promise<readonly string[]> {
  const bytes = await tar.readDocument("index.json");
  if (bytes === undefined) return [];
  const document = parseManifest(bytes, `index.json in ${tar.path}`);
  return document.kind === "index" ? document.manifests.map((each) => each.digest) : [];
}

async function dockerImages(tar: TarIndex, signal: AbortSignal): Promise<readonly ArchivedImage[]> {
  const bytes = await tar.readDocument("manifest.json");
  if (bytes === undefined) return [];
  return Promise.all(parseDockerManifest(bytes, tar.path).map((image) => dockerImage(tar, image, signal)));
}

function parseDockerManifest(bytes: Buffer, path: string): readonly { readonly config: string; readonly layers: readonly string[] }[] {
  const invalid = new ContainerdError("InvalidArchive", `manifest.json in ${path} is not a docker archive's`);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    throw invalid;
  }
  if (!Array.isArray(value) || value.length > 100) throw invalid;
  return value.map((entry: unknown) => {
    const { Config: config, Layers: layers } = (entry ?? {}) as Record<string, unknown>;
    if (typeof config !== "string" || !Array.isArray(layers) || layers.length > 1000 || !layers.every((each) => typeof each === "string"))
      throw invalid;
    return { config, layers };
  });
}

async function dockerImage(
  tar: TarIndex,
  image: { readonly config: string; readonly layers: readonly string[] },
  signal: AbortSignal,
): Promise<ArchivedImage> {
  const blobs: BlobSource[] = [];
  const describe = async (name: string, plain: string): Promise<Descriptor> => {
    const entry = tar.entry(name);
    if (entry === undefined) throw new ContainerdError("InvalidArchive", `the archive ${tar.path} names ${name} but does not have it`);
    const { digest, isGzip } = await hashEntry(tar, entry, signal);
    const descriptor = { mediaType: isGzip ? `${plain}.gzip` : plain, digest, sizeBytes: entry.sizeBytes };
    blobs.push(source(tar, descriptor, entry));
    return descriptor;
  };
  const config = await describe(image.config, DOCKER_CONFIG);
  const layers: Descriptor[] = [];
  for (const layer of image.layers) layers.push(await describe(layer, DOCKER_LAYER));
  const wire = (each: Descriptor) => ({ mediaType: each.mediaType, digest: each.digest, size: each.sizeBytes });
  // Field for field in the order in which `ctr images import` writes it: the same archive has the same digest in both.
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: DOCKER_MANIFEST, config: wire(config), layers: layers.map((each) => wire(each)) }),
  );
  const document = { kind: "manifest" as const, mediaType: DOCKER_MANIFEST, config, layers };
  return { index: undefined, manifest: { digest: digestOf(bytes), bytes, document }, blobs };
}

async function hashEntry(
  tar: TarIndex,
  entry: TarEntry,
  signal: AbortSignal,
): Promise<{ readonly digest: string; readonly isGzip: boolean }> {
  const hash = createHash("sha256");
  let start: Buffer | undefined;
  for await (const chunk of tar.read(entry, 0)) {
    signal.throwIfAborted();
    start ??= chunk.subarray(0, 2);
    hash.update(chunk);
  }
  return { digest: `sha256:${hash.digest("hex")}`, isGzip: start?.[0] === 0x1f && start[1] === 0x8b };
}

async function readBlob(tar: TarIndex, digest: string): Promise<Buffer | undefined> {
  if (!isDigest(digest)) throw new ContainerdError("InvalidImage", `${JSON.stringify(digest)} is no sha256 digest`);
  const bytes = await tar.readDocument(blobPath(digest));
  if (bytes !== undefined && digestOf(bytes) !== digest) {
    throw new ContainerdError("DigestMismatch", `${digest} in ${tar.path} is not what its digest says`);
  }
  return bytes;
}

function source(tar: TarIndex, blob: Descriptor, entry: TarEntry): BlobSource {
  return { digest: blob.digest, sizeBytes: blob.sizeBytes, read: (offset) => tar.read(entry, offset) };
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}
