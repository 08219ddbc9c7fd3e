/** A pull through CRI, which itself tells nothing until it ends: its bytes are read from the content store meanwhile. */
import { sleep } from "@drover/lifecycle";
import { ContainerdError, type TransferProgress } from "../containerd-port.ts";
import type { Connection } from "./connection.ts";
import type { ContentStore } from "./content-store.ts";
import { ImageServiceService } from "./gen/cri/runtime.ts";
import type { ImageContents } from "./image-content.ts";

const POLL_MS = 500;
/** No byte for this long: the pull is given up. containerd keeps what it has, the next pull goes on from there. */
const STALL_MS = 5 * 60_000;
/** All bytes are there, layers are being unpacked, and nothing tells how far that is. */
const UNPACK_MS = 30 * 60_000;
const MAX_PULL_MS = 12 * 3_600_000;

export async function watchedPull(
  connection: Connection,
  content: ContentStore,
  contents: ImageContents,
  reference: string,
  onProgress: (progress: TransferProgress) => void,
  signal: AbortSignal,
): Promise<void> {
  const ending = new AbortController();
  const both = AbortSignal.any([signal, ending.signal]);
  const watching = watch(connection, content, contents, reference, onProgress, both).catch((error: unknown) => {
    if (!both.aborted) ending.abort(error);
  });
  try {
    await connection.unary(ImageServiceService.pullImage, { image: { image: reference } }, { signal: both, timeoutMs: MAX_PULL_MS });
  } finally {
    ending.abort(new ContainerdError("Failed", "the pull has ended"));
    await watching;
  }
  const last = await bytesThere(content, contents, digestIn(reference), signal);
  if (last !== undefined) onProgress({ doneBytes: last.totalBytes, totalBytes: last.totalBytes });
}

async function watch(
  connection: Connection,
  content: ContentStore,
  contents: ImageContents,
  reference: string,
  onProgress: (progress: TransferProgress) => void,
  signal: AbortSignal,
): Promise<never> {
  const { clock } = connection;
  let last: TransferProgress = { doneBytes: -1, totalBytes: 0 };
  let movedAtMs = clock.monotonicMs();
  for (;;) {
    await sleep(clock, POLL_MS, signal);
    const now = await bytesThere(content, contents, digestIn(reference), signal);
    if (now !== undefined && (now.doneBytes !== last.doneBytes || now.totalBytes !== last.totalBytes)) {
      last = now;
      movedAtMs = clock.monotonicMs();
      onProgress(now);
    }
    const limitMs = last.doneBytes === last.totalBytes ? UNPACK_MS : STALL_MS;
    if (clock.monotonicMs() - movedAtMs > limitMs) {
      throw new ContainerdError(
        "Stalled",
        `${reference}: no byte in ${limitMs / 60_000} minutes at ${last.doneBytes} of ${last.totalBytes}`,
      );
    }
  }
}

/** undefined: not known now. The pull itself reports what is wrong. */
async function bytesThere(
  content: ContentStore,
  contents: ImageContents,
  digest: string,
  signal: AbortSignal,
): Promise<TransferProgress | undefined> {
  try {
    const image = await contents.find(digest, { signal });
    if (image === undefined) return undefined;
    const blobs = [...new Map([image.config, ...image.layers].map((blob) => [blob.digest, blob])).values()];
    const there = await content.infos(
      blobs.map((blob) => blob.digest),
      { signal },
    );
    const ingests = await content.ingests({ signal });
    // CRI names its ingests "layer-sha256:...": what they are of is in their name.
    const partial = (blobDigest: string): number => ingests.find((ingest) => ingest.ref.endsWith(blobDigest))?.offset ?? 0;
    const doneBytes = blobs.reduce((sum, blob) => sum + (there.has(blob.digest) ? blob.sizeBytes : partial(blob.digest)), 0);
    return { doneBytes, totalBytes: blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0) };
  } catch (error) {
    if (error instanceof ContainerdError) return undefined;
    throw error;
  }
}

function digestIn(reference: string): string {
  return reference.slice(reference.indexOf("@") + 1);
}
