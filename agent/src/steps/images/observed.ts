/** What is looked at before images are changed. */
import { ContainerdError, type CriImage, type ImageRecord } from "../../host/containerd-port.ts";
import type { ImagesSpec } from "@drover/proto";
import { type StepContext, StepError } from "../step.ts";
import { parseImageName } from "./reference.ts";

export interface ImagesObserved {
  /** False with `--root`: nobody can be asked about images. */
  readonly isLive: boolean;
  /** containerd's. */
  readonly version: string;
  /** By full name. */
  readonly records: Readonly<Record<string, ImageRecord>>;
  /** As the kubelet sees them, by full name. */
  readonly cri: Readonly<Record<string, CriImage>>;
  /** CRI shows at least one image as pinned. Versions do not tell: pins came to 1.7 with one of its patch releases. */
  readonly showsPins: boolean;
  /** Digests of the spec that are there whole and unpacked. */
  readonly complete: ReadonlySet<string>;
  /** Where containerd keeps images. */
  readonly freeBytes: number;
  /** Full names that this step pinned. */
  readonly ourPins: readonly string[];
}

export async function observeImages(spec: ImagesSpec, context: StepContext): Promise<ImagesObserved> {
  const ourPins = readOurPins(await context.memory.get());
  if (!context.host.isLive) return { ...NOTHING, ourPins };
  try {
    return await askContainerd(spec, context, ourPins);
  } catch (error) {
    if (!(error instanceof ContainerdError)) throw error;
    throw new StepError("ContainerdUnavailable", `images cannot be looked at: ${error.message}`, true);
  }
}

async function askContainerd(spec: ImagesSpec, context: StepContext, ourPins: readonly string[]): Promise<ImagesObserved> {
  const { signal } = context;
  const { containerd, files } = context.host;
  const records = await containerd.listImages(signal);
  const criImages = await containerd.listCriImages(signal);
  const complete = await containerd.findComplete([...new Set(spec.images.map((image) => image.digest))], signal);
  const names = new Set([...spec.images.map((image) => parseImageName(image.name)?.full), ...ourPins]);
  return {
    isLive: true,
    version: await containerd.version(signal),
    records: Object.fromEntries(records.filter((record) => names.has(record.name)).map((record) => [record.name, record])),
    cri: Object.fromEntries(criImages.flatMap((image) => image.repoTags.filter((tag) => names.has(tag)).map((tag) => [tag, image]))),
    showsPins: criImages.some((image) => image.isPinned),
    complete,
    freeBytes: await files.freeBytes(await containerd.storagePath(signal)),
    ourPins,
  };
}

const NOTHING: ImagesObserved = {
  isLive: false,
  version: "",
  records: {},
  cri: {},
  showsPins: false,
  complete: new Set(),
  freeBytes: 0,
  ourPins: [],
};

/** What the step remembers: { pins: [full name] }. */
function readOurPins(memory: unknown): readonly string[] {
  const pins: unknown = (memory as { pins?: unknown } | null | undefined)?.pins;
  return Array.isArray(pins) ? pins.filter((name) => typeof name === "string") : [];
}
