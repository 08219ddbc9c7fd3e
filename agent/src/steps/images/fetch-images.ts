/** Pulls and imports, several at once within the limits; one that fails does not stop the others. */
import { type ImagesSpec, type LockedImage, ProgressPhase } from "@drover/proto";
import { ContainerdError, type TransferProgress } from "../../host/containerd-port.ts";
import type { StepContext } from "../step.ts";
import type { ImageWork } from "./diff.ts";
import { mebibytes } from "./disk-budget.ts";
import { parseImageName } from "./reference.ts";
import { schedule, type Transfer } from "./schedule.ts";

/** One digest, and all the lock's names for it. */
export interface ImageTransfer extends Transfer {
  readonly works: readonly Extract<ImageWork, { kind: "fetch" }>[];
}

export interface FetchFailure {
  readonly name: string;
  readonly message: string;
}

const DEFAULT_MAX_PARALLEL = 6;
const DEFAULT_MAX_PARALLEL_PER_REGISTRY = 4;
/** One is unpacked while the other still comes. */
const MAX_PARALLEL_LARGE = 2;
const PROGRESS_EVERY_MS = 200;

/** Pure. */
export function transfersFor(works: readonly ImageWork[]): readonly ImageTransfer[] {
  const fetches = works.filter((work) => work.kind === "fetch");
  return [...Map.groupBy(fetches, (work) => work.image.digest)].map(([digest, same]) => {
    const { image } = same[0]!;
    return {
      digest,
      sizeBytes: image.sizeBytes,
      registry: image.archive === "" ? parseImageName(image.name)?.registry : undefined,
      works: same,
    };
  });
}

/**
 * @param finish called when a name's content is there whole: gives it the name
 * @returns what failed, by name
 * @throws what is no expected failure, and the signal's reason, in both cases when all that ran has ended
 */
export async function fetchImages(
  spec: ImagesSpec,
  transfers: readonly ImageTransfer[],
  finish: (image: LockedImage) => Promise<void>,
  context: StepContext,
): Promise<readonly FetchFailure[]> {
  const limits = {
    maxParallel: spec.maxParallel || DEFAULT_MAX_PARALLEL,
    maxParallelPerRegistry: spec.maxParallelPerRegistry || DEFAULT_MAX_PARALLEL_PER_REGISTRY,
    maxParallelLarge: MAX_PARALLEL_LARGE,
  };
  const tally = new ProgressTally(transfers, context);
  const failures: FetchFailure[] = [];
  const unexpected: unknown[] = [];
  const running = new Map<ImageTransfer, Promise<void>>();
  let waiting = transfers;
  const start = (transfer: ImageTransfer): void => {
    const ending = fetchOne(transfer, finish, tally, context)
      .then((failed) => void failures.push(...failed))
      .catch((error: unknown) => void unexpected.push(error))
      .finally(() => running.delete(transfer));
    running.set(transfer, ending);
  };
  for (;;) {
    if (unexpected.length === 0 && !context.signal.aborted) {
      const next = schedule(waiting, [...running.keys()], limits);
      waiting = waiting.filter((transfer) => !next.includes(transfer));
      next.forEach(start);
    }
    if (running.size === 0) break;
    await Promise.race(running.values());
  }
  context.signal.throwIfAborted();
  if (unexpected.length > 0) throw unexpected[0];
  return failures;
}

async function fetchOne(
  transfer: ImageTransfer,
  finish: (image: LockedImage) => Promise<void>,
  tally: ProgressTally,
  context: StepContext,
): Promise<readonly FetchFailure[]> {
  const failures: FetchFailure[] = [];
  let isThere = false;
  for (const { image, name } of transfer.works) {
    tally.tell(transfer, name, ProgressPhase.PROGRESS_PHASE_STARTED);
    try {
      if (!isThere) await bring(image, name, (progress) => tally.moved(transfer, name, progress), context);
      await finish(image);
      isThere = true;
      tally.moved(transfer, name, { doneBytes: 1, totalBytes: 1 });
      tally.tell(transfer, name, ProgressPhase.PROGRESS_PHASE_DONE);
      context.say(`${name}: there as ${image.digest}`);
    } catch (error) {
      if (context.signal.aborted || !(error instanceof ContainerdError)) throw error;
      failures.push({ name, message: `${error.code}: ${error.message}` });
      tally.tell(transfer, name, ProgressPhase.PROGRESS_PHASE_FAILED, error.code);
      context.say(`${name}: ${error.message}`);
    }
  }
  return failures;
}

async function bring(
  image: LockedImage,
  name: string,
  onProgress: (progress: TransferProgress) => void,
  context: StepContext,
): Promise<void> {
  const { containerd } = context.host;
  if (image.archive !== "") {
    context.say(`${name}: importing ${image.digest} from ${image.archive}`);
    await containerd.importArchive(image.archive, { name, digest: image.digest }, onProgress, context.signal);
  } else {
    const reference = `${name.slice(0, name.lastIndexOf(":"))}@${image.digest}`;
    context.say(`${name}: pulling ${reference}`);
    await pullWhole(reference, image.digest, onProgress, context);
  }
  if ((await containerd.findComplete([image.digest], context.signal)).has(image.digest)) return;
  throw new ContainerdError("Failed", `${image.digest} is not whole after containerd reported success`);
}

/** As containerd words it when a blob that it has on record is not on the disk, or is not what it was. */
const DAMAGE = /blob not found|content store|failed to extract layer|unexpected commit digest/;

/** A power cut can take blobs whose records stay: containerd never fetches those again by itself, and each pull fails alike. */
async function pullWhole(
  reference: string,
  digest: string,
  onProgress: (progress: TransferProgress) => void,
  context: StepContext,
): Promise<void> {
  const { signal } = context;
  const { containerd } = context.host;
  try {
    return await containerd.pull(reference, onProgress, signal);
  } catch (error) {
    if (!(error instanceof ContainerdError) || !DAMAGE.test(error.message)) throw error;
    const dropped = await containerd.dropDamaged([digest], () => undefined, signal);
    if (dropped.length === 0) throw error;
    context.say(`${reference}: ${dropped.length} damaged or lost blobs removed; pulling again`);
  }
  await containerd.pull(reference, onProgress, signal);
}

/** Bytes over the whole step, as the lock counts them. */
class ProgressTally {
  readonly #context: StepContext;
  readonly #totalBytes: number;
  readonly #doneBytes = new Map<ImageTransfer, number>();
  readonly #toldAtMs = new Map<ImageTransfer, number>();

  constructor(transfers: readonly ImageTransfer[], context: StepContext) {
    this.#context = context;
    this.#totalBytes = transfers.reduce((sum, transfer) => sum + transfer.sizeBytes, 0);
  }

  moved(transfer: ImageTransfer, name: string, { doneBytes, totalBytes }: TransferProgress): void {
    if (totalBytes > 0) this.#doneBytes.set(transfer, Math.round(transfer.sizeBytes * Math.min(1, doneBytes / totalBytes)));
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs - (this.#toldAtMs.get(transfer) ?? Number.NEGATIVE_INFINITY) < PROGRESS_EVERY_MS) return;
    this.#toldAtMs.set(transfer, nowMs);
    this.tell(transfer, name, ProgressPhase.PROGRESS_PHASE_RUNNING);
  }

  tell(transfer: ImageTransfer, item: string, phase: ProgressPhase, problem?: string): void {
    const doneBytes = [...this.#doneBytes.values()].reduce((sum, bytes) => sum + bytes, 0);
    const size = mebibytes(transfer.sizeBytes);
    const isUnderWay = phase === ProgressPhase.PROGRESS_PHASE_RUNNING;
    const message = problem ?? (isUnderWay ? `${mebibytes(this.#doneBytes.get(transfer) ?? 0)} of ${size}` : size);
    this.#context.progress({ item, phase, doneBytes, totalBytes: this.#totalBytes, message });
  }
}
