/** Which transfers start next. Pure. */

export interface Transfer {
  readonly digest: string;
  readonly sizeBytes: number;
  /** undefined: from the node's own disk, which no registry limits. */
  readonly registry: string | undefined;
}

export interface TransferLimits {
  readonly maxParallel: number;
  readonly maxParallelPerRegistry: number;
  /** Of LARGE_BYTES and more. */
  readonly maxParallelLarge: number;
}

/**
 * Below it a transfer's time is mostly waiting for answers, and several at once wait together. From here on the line, the disk
 * and the unpacking decide, several at once only share them, and whatever runs beside them becomes slow.
 */
export const LARGE_BYTES = 256 * 2 ** 20;

/**
 * Smallest first, so that most images are there soonest; a registry at its limit holds up nobody else's. A large one waits until
 * the others of its registry have ended: it would make the last of them as slow as itself.
 * @returns what to start now, in that order
 */
export function schedule<T extends Transfer>(waiting: readonly T[], running: readonly Transfer[], limits: TransferLimits): readonly T[] {
  const next: T[] = [];
  const isLarge = ({ sizeBytes }: Transfer): boolean => sizeBytes >= LARGE_BYTES;
  const withSmall = new Set([...waiting, ...running].filter((each) => !isLarge(each)).map(({ registry }) => registry));
  const underWay = new Map<string | undefined, number>();
  for (const { registry } of running) underWay.set(registry, (underWay.get(registry) ?? 0) + 1);
  let large = running.filter((each) => isLarge(each)).length;
  for (const transfer of waiting.toSorted((a, b) => a.sizeBytes - b.sizeBytes || (a.digest < b.digest ? -1 : 1))) {
    if (running.length + next.length >= limits.maxParallel) break;
    const fromThere = underWay.get(transfer.registry) ?? 0;
    if (transfer.registry !== undefined && fromThere >= limits.maxParallelPerRegistry) continue;
    if (isLarge(transfer) && (withSmall.has(transfer.registry) || large >= limits.maxParallelLarge)) continue;
    if (isLarge(transfer)) large += 1;
    underWay.set(transfer.registry, fromThere + 1);
    next.push(transfer);
  }
  return next;
}
