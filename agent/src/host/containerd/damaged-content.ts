/** Blobs of images, read back whole: those that are not what their digest says are taken out of the content store. */
import { createHash } from "node:crypto";
import type { Random } from "@drover/lifecycle";
import { ContainerdError, type TransferProgress } from "../containerd-port.ts";
import type { CallOptions, Connection } from "./connection.ts";
import type { ContentStore } from "./content-store.ts";
import { ContentService } from "./gen/containerd/services/content.ts";
import { LeasesService } from "./gen/containerd/services/leases.ts";
import { SnapshotsService } from "./gen/containerd/services/snapshots.ts";
import { chainIds, type Descriptor, diffIdsOf, forPlatform, parseManifest, type Platform } from "./manifest.ts";

/** What is asked for at once; containerd sends it in messages of a megabyte. */
const READ_BYTES = 8 * 2 ** 20;
const READ_TIMEOUT_MS = 60_000;
const COLLECT_TIMEOUT_MS = 120_000;
const LEASE_MS = 3_600_000;

export interface DamageParts {
  readonly connection: Connection;
  readonly content: ContentStore;
  readonly platform: Platform;
  readonly random: Random;
  /** Where CRI unpacks to. */
  readonly snapshotter: string;
}

/** @returns digests of what was removed, or was missing already and is no longer waited for */
export async function dropDamaged(
  parts: DamageParts,
  images: readonly string[],
  onProgress: (progress: TransferProgress) => void,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const options = { signal, timeoutMs: READ_TIMEOUT_MS };
  const damaged = new Set<string>();
  const found: Found[] = [];
  for (const image of images) {
    const each = await findImage(parts, image, damaged, options);
    if (each !== undefined) found.push(each);
  }
  const there = await parts.content.list([], options);
  const blobs = new Map(found.flatMap(({ config, layers }) => [config, ...layers]).map((blob) => [blob.digest, blob]));
  const totalBytes = [...blobs.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let doneBytes = 0;
  for (const blob of blobs.values()) {
    if (!there.has(blob.digest)) continue;
    const isWhole = await isBlobWhole(parts.connection, blob, options, (bytes) => {
      doneBytes += bytes;
      onProgress({ doneBytes, totalBytes });
    });
    if (!isWhole) damaged.add(blob.digest);
  }
  for (const { manifest, layers } of found) {
    const kept = new Set(Object.values(there.get(manifest)?.labels ?? {}));
    for (const { digest } of layers) if (kept.has(digest) && !there.has(digest)) damaged.add(digest);
  }
  for (const each of found) await makeRoom(parts, each, damaged, options);
  for (const digest of damaged) await ignoringAbsent(parts.connection.unary(ContentService.delete, { digest }, options));
  if (damaged.size > 0) await collectNow(parts, signal);
  return [...damaged];
}

interface Found {
  readonly manifest: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** As far as the documents that name its parts can be read. @param damaged is told which of those are not whole */
async function findImage(
  { content, platform }: DamageParts,
  image: string,
  damaged: Set<string>,
  options: CallOptions,
): Promise<Found | undefined> {
  const read = (digest: string): Promise<Buffer | undefined> => readOr(content, digest, damaged, options);
  try {
    const top = await read(image);
    if (top === undefined) return undefined;
    let manifest = image;
    let document = parseManifest(top, image);
    if (document.kind === "index") {
      manifest = forPlatform(document, platform, image).digest;
      const bytes = await read(manifest);
      if (bytes === undefined) return undefined;
      document = parseManifest(bytes, manifest);
    }
    return document.kind === "manifest" ? { manifest, config: document.config, layers: document.layers } : undefined;
  } catch (error) {
    // Whole, and still no image for this machine: pulling it anew gives the same.
    if (error instanceof ContainerdError && error.code === "InvalidImage") return undefined;
    throw error;
  }
}

async function readOr(content: ContentStore, digest: string, damaged: Set<string>, options: CallOptions): Promise<Buffer | undefined> {
  try {
    return await content.readDocument(digest, options);
  } catch (error) {
    if (!isDamage(error)) throw error;
    damaged.add(digest);
    return undefined;
  }
}

/**
 * containerd pulls no layer that it has unpacked. Where its snapshot can be removed it is, and unpacked anew; where containers use it,
 * the image goes on from what is unpacked, and its manifest no longer refers to the layer, as where CRI discards unpacked layers.
 */
async function makeRoom(
  parts: DamageParts,
  { manifest, config, layers }: Found,
  damaged: Set<string>,
  options: CallOptions,
): Promise<void> {
  const lowest = layers.findIndex(({ digest }) => damaged.has(digest));
  if (lowest < 0) return;
  const bytes = await readOr(parts.content, config.digest, damaged, options);
  if (bytes === undefined) return;
  const chain = chainIds(diffIdsOf(bytes, config.digest));
  let remaining = chain.length;
  while (remaining > lowest && (await removeSnapshot(parts, chain[remaining - 1]!, options))) remaining -= 1;
  const inUse = new Set(layers.slice(0, remaining).flatMap(({ digest }) => (damaged.has(digest) ? [digest] : [])));
  const labels = (await parts.content.infos([manifest], options)).get(manifest)?.labels ?? {};
  const dropped = Object.entries(labels).flatMap(([label, digest]) => (inUse.has(digest) ? [[label, ""] as const] : []));
  await parts.content.label(manifest, Object.fromEntries(dropped), options);
}

/** @returns false when something stands on it */
async function removeSnapshot({ connection, snapshotter }: DamageParts, key: string, options: CallOptions): Promise<boolean> {
  try {
    await ignoringAbsent(connection.unary(SnapshotsService.remove, { snapshotter, key }, options));
    return true;
  } catch (error) {
    if (error instanceof ContainerdError && error.code === "Failed") return false;
    throw error;
  }
}

/** NotFound: containerd's records have the blob, its file is gone. */
function isDamage(error: unknown): boolean {
  return error instanceof ContainerdError && (error.code === "DigestMismatch" || error.code === "NotFound");
}

async function isBlobWhole(
  connection: Connection,
  { digest, sizeBytes }: Descriptor,
  options: CallOptions,
  onBytes: (bytes: number) => void,
): Promise<boolean> {
  const hash = createHash("sha256");
  for (let offset = 0; offset < sizeBytes; ) {
    const size = Math.min(READ_BYTES, sizeBytes - offset);
    let bytes = 0;
    try {
      for (const { data } of await connection.collect(ContentService.read, { digest, offset, size }, options)) {
        hash.update(data);
        bytes += data.length;
      }
    } catch (error) {
      // Failed: it is shorter than its record says.
      if (isDamage(error) || (error instanceof ContainerdError && error.code === "Failed")) return false;
      throw error;
    }
    if (bytes !== size) return false;
    offset += bytes;
    onBytes(bytes);
  }
  return `sha256:${hash.digest("hex")}` === digest;
}

async function ignoringAbsent(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof ContainerdError && error.code === "NotFound")) throw error;
  }
}

/** Until garbage is collected the file lies there, and the next pull would take it for its own; a lease that ends is what collects at once. */
async function collectNow({ connection, random }: DamageParts, signal: AbortSignal): Promise<void> {
  const id = `drover-repull-${random.bytes(6).toString("hex")}`;
  const expiry = new Date(connection.clock.now() + LEASE_MS).toISOString();
  await connection.unary(LeasesService.create, { id, labels: { "containerd.io/gc.expire": expiry } }, { signal });
  await connection.unary(LeasesService.delete, { id, sync: true }, { signal, timeoutMs: COLLECT_TIMEOUT_MS });
}
