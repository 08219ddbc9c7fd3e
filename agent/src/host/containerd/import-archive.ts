/** An archived image into the content store and unpacked, under a lease until its name holds it. */
import type { Random } from "@drover/lifecycle";
import { ContainerdError, type TransferProgress } from "../containerd-port.ts";
import { type ArchivedImage, findArchivedImage } from "./archived-image.ts";
import type { Connection } from "./connection.ts";
import { type BlobSource, ContentStore } from "./content-store.ts";
import { LeasesService } from "./gen/containerd/services/leases.ts";
import { diffIdsOf, type Platform } from "./manifest.ts";
import { openTar } from "./tar-index.ts";
import { unpack } from "./unpack.ts";

const LEASE_MS = 24 * 3_600_000;
/** An older attempt's lease is taken over, with what it holds, while it lives this long at least. */
const LEASE_MARGIN_MS = 3 * 3_600_000;
const EXPIRY_LABEL = "containerd.io/gc.expire";

export interface Importing {
  readonly path: string;
  readonly digest: string;
  readonly snapshotter: string;
  readonly platform: Platform;
  readonly onProgress: (progress: TransferProgress) => void;
  /** Called while the lease still holds the content: gives it a name. */
  readonly name: () => Promise<void>;
}

export async function importArchive(connection: Connection, random: Random, importing: Importing, signal: AbortSignal): Promise<void> {
  const tar = await openTar(importing.path, signal);
  try {
    const image = await findArchivedImage(tar, importing.digest, importing.platform, signal);
    const lease = await takeLease(connection, random, importing.digest, signal);
    const content = new ContentStore(connection);
    await writeBlobs(content, image, importing.onProgress, { signal, lease });
    const { config, layers } = image.manifest.document;
    const configBytes = await content.readDocument(config.digest, { signal });
    if (configBytes === undefined)
      throw new ContainerdError("InvalidArchive", `${importing.path} does not have the configuration ${config.digest}`);
    const diffIds = diffIdsOf(configBytes, config.digest);
    await unpack(connection, content, random, { snapshotter: importing.snapshotter, config, layers, diffIds }, { signal, lease });
    await importing.name();
    await dropLeases(connection, importing.digest, signal);
  } finally {
    await tar.close();
  }
}

async function writeBlobs(
  content: ContentStore,
  image: ArchivedImage,
  onProgress: (progress: TransferProgress) => void,
  options: { readonly signal: AbortSignal; readonly lease: string },
): Promise<void> {
  const { config, layers } = image.manifest.document;
  const needed = [config, ...layers];
  const totalBytes = needed.reduce((sum, blob) => sum + blob.sizeBytes, 0);
  let doneBytes = 0;
  for (const blob of needed) {
    const source = image.blobs.find((each) => each.digest === blob.digest) ?? absentFromArchive(blob.digest, blob.sizeBytes);
    await content.write(source, {}, (there) => onProgress({ doneBytes: doneBytes + there, totalBytes }), options);
    doneBytes += blob.sizeBytes;
  }
  await writeDocument(content, image.manifest, { "containerd.io/gc.ref.content.config": config.digest, ...numbered("l", layers) }, options);
  if (image.index !== undefined) await writeDocument(content, image.index, numbered("m", [image.manifest]), options);
}

async function writeDocument(
  content: ContentStore,
  document: { readonly digest: string; readonly bytes: Buffer },
  labels: Readonly<Record<string, string>>,
  options: { readonly signal: AbortSignal; readonly lease: string },
): Promise<void> {
  const { digest, bytes } = document;
  const source: BlobSource = {
    digest,
    sizeBytes: bytes.length,
    read: async function* (offset) {
      if (offset < bytes.length) yield bytes.subarray(offset);
    },
  };
  await content.write(source, labels, () => {}, options);
  // A document that was there before may lack the references that keep its children.
  await content.label(digest, labels, options);
}

/** Fine as long as the content store has it already; else reading it says what is missing. */
function absentFromArchive(digest: string, sizeBytes: number): BlobSource {
  return {
    digest,
    sizeBytes,
    // oxlint-disable-next-line require-yield
    read: async function* () {
      throw new ContainerdError("InvalidArchive", `the archive does not have ${digest}, and neither has containerd`);
    },
  };
}

function numbered(kind: "l" | "m", blobs: readonly { readonly digest: string }[]): Record<string, string> {
  return Object.fromEntries(blobs.map((blob, index) => [`containerd.io/gc.ref.content.${kind}.${index}`, blob.digest]));
}

async function takeLease(connection: Connection, random: Random, digest: string, signal: AbortSignal): Promise<string> {
  const now = connection.clock.now();
  const older = await leasesOf(connection, digest, signal);
  const usable = older.find((lease) => Date.parse(lease.labels[EXPIRY_LABEL] ?? "") > now + LEASE_MARGIN_MS);
  if (usable !== undefined) return usable.id;
  const id = `${leasePrefix(digest)}${random.bytes(6).toString("hex")}`;
  await connection.unary(LeasesService.create, { id, labels: { [EXPIRY_LABEL]: new Date(now + LEASE_MS).toISOString() } }, { signal });
  return id;
}

async function dropLeases(connection: Connection, digest: string, signal: AbortSignal): Promise<void> {
  for (const lease of await leasesOf(connection, digest, signal)) {
    try {
      await connection.unary(LeasesService.delete, { id: lease.id, sync: false }, { signal });
    } catch (error) {
      if (!(error instanceof ContainerdError && error.code === "NotFound")) throw error;
    }
  }
}

async function leasesOf(connection: Connection, digest: string, signal: AbortSignal) {
  const { leases } = await connection.unary(LeasesService.list, { filters: [] }, { signal });
  return leases.filter((lease) => lease.id.startsWith(leasePrefix(digest)));
}

function leasePrefix(digest: string): string {
  return `drover-import-${digest.slice("sha256:".length, "sha256:".length + 16)}-`;
}
