/** Which images the kubelet would see here, told when that has changed. */
import { type Clock, withDeadline } from "@drover/lifecycle";
import type { ImageState } from "@drover/proto";
import type { Host } from "../host/host.ts";

const ASK_DEADLINE_MS = 30_000;
/** An inventory has to fit into one batch. */
const MAX_IMAGES = 150;

export class ImageInventoryTeller {
  readonly #host: Host;
  readonly #clock: Clock;
  #told = "";

  constructor(host: Host, clock: Clock) {
    this.#host = host;
    this.#clock = clock;
  }

  /** Everything is to be told again. */
  forget(): void {
    this.#told = "";
  }

  /** undefined: nothing new, or nobody to ask. */
  async news(signal: AbortSignal): Promise<readonly ImageState[] | undefined> {
    if (!this.#host.isLive) return undefined;
    try {
      const found = await withDeadline(this.#clock, "listing images", ASK_DEADLINE_MS, signal, (each) =>
        this.#host.containerd.listCriImages(each),
      );
      const images = found
        .flatMap(({ id, repoTags, repoDigests, sizeBytes, isPinned }) => {
          const digest = repoDigests[0]?.split("@")[1] ?? id;
          return (repoTags.length === 0 ? repoDigests : repoTags).map((name) => ({ name, digest, sizeBytes, pinned: isPinned }));
        })
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .slice(0, MAX_IMAGES);
      const text = JSON.stringify(images);
      if (text === this.#told) return undefined;
      this.#told = text;
      return images;
    } catch {
      // Without containerd there are no images to tell of; that it does not answer is the containerd step's condition.
      return undefined;
    }
  }
}
