/** Layers into snapshots, as containerd's own client does it: what a pod's first start would otherwise wait for. */
import type { Random } from "@drover/lifecycle";
import { ContainerdError } from "../containerd-port.ts";
import type { CallOptions, Connection } from "./connection.ts";
import type { ContentStore } from "./content-store.ts";
import { DiffService } from "./gen/containerd/services/diff.ts";
import { SnapshotsService } from "./gen/containerd/services/snapshots.ts";
import { hasSnapshot } from "./image-content.ts";
import { chainIds, type Descriptor } from "./manifest.ts";

/** One layer's; the largest seen in the field take minutes on slow disks. */
const APPLY_TIMEOUT_MS = 30 * 60_000;

export interface Unpacking {
  readonly snapshotter: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly string[];
}

/** Idempotent: layers that are unpacked are skipped. */
export async function unpack(
  connection: Connection,
  content: ContentStore,
  random: Random,
  image: Unpacking,
  options: CallOptions,
): Promise<void> {
  const { snapshotter, layers, diffIds } = image;
  if (layers.length !== diffIds.length) {
    throw new ContainerdError("InvalidImage", `${image.config.digest} names ${diffIds.length} layers, its manifest ${layers.length}`);
  }
  const chain = chainIds(diffIds);
  for (const [index, name] of chain.entries()) {
    if (await hasSnapshot(connection, snapshotter, name, options)) continue;
    await unpackLayer(
      connection,
      random,
      { snapshotter, name, parent: chain[index - 1] ?? "", layer: layers[index]!, diffId: diffIds[index]! },
      options,
    );
    await content.label(layers[index]!.digest, { "containerd.io/uncompressed": diffIds[index]! }, options);
  }
  const top = chain.at(-1);
  if (top !== undefined) await content.label(image.config.digest, { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: top }, options);
}

async function unpackLayer(
  connection: Connection,
  random: Random,
  step: {
    readonly snapshotter: string;
    readonly name: string;
    readonly parent: string;
    readonly layer: Descriptor;
    readonly diffId: string;
  },
  options: CallOptions,
): Promise<void> {
  const { snapshotter, name, parent, layer, diffId } = step;
  const key = `extract-drover-${random.bytes(6).toString("hex")} ${name}`;
  try {
    const { mounts } = await connection.unary(SnapshotsService.prepare, { snapshotter, key, parent, labels: {} }, options);
    const descriptor = { mediaType: layer.mediaType, digest: layer.digest, size: layer.sizeBytes, annotations: {} };
    const { applied } = await connection.unary(
      DiffService.apply,
      { diff: descriptor, mounts },
      { ...options, timeoutMs: APPLY_TIMEOUT_MS },
    );
    if (applied?.digest !== diffId) {
      throw new ContainerdError("DigestMismatch", `layer ${layer.digest} unpacks to ${applied?.digest}, its configuration says ${diffId}`);
    }
    await connection.unary(SnapshotsService.commit, { snapshotter, name, key, labels: {} }, options);
  } catch (error) {
    await removeSnapshot(connection, snapshotter, key, options);
    // Another one unpacked the same layer meanwhile.
    if (error instanceof ContainerdError && error.code === "AlreadyExists") return;
    throw error;
  }
}

/** What is left here anyway goes with its lease. */
async function removeSnapshot(connection: Connection, snapshotter: string, key: string, options: CallOptions): Promise<void> {
  if (options.signal.aborted) return;
  try {
    await connection.unary(SnapshotsService.remove, { snapshotter, key }, options);
  } catch (error) {
    if (!(error instanceof ContainerdError)) throw error;
  }
}
