/** Swap as the steps need it. */

export interface ActiveSwap {
  /** Absolute path of the device or file. */
  readonly path: string;
  /** As the kernel says: "partition", "file". */
  readonly kind: string;
  readonly sizeBytes: number;
  readonly usedBytes: number;
  /** Negative: given by the kernel. */
  readonly priority: number;
}

export interface Swaps {
  list(): Promise<readonly ActiveSwap[]>;
  /** What programs can still get without swapping, as the kernel reckons it. */
  availableBytes(): Promise<number>;
  /** No error when it is not in use. @throws SwapFailed */
  off(path: string, signal: AbortSignal): Promise<void>;
  /** No error when it is in use already. @param priority from 0; undefined: the kernel's choice @throws SwapFailed */
  on(path: string, priority: number | undefined, signal: AbortSignal): Promise<void>;
}

/** swapon or swapoff did not do it; message holds the end of what it said. */
export class SwapFailed extends Error {
  override readonly name = "SwapFailed";
}
