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
}

/**
 * Smallest first, so that most images are there soonest; a registry at its limit holds up nobody else's.
 * @returns what to start now, in that order
 */
export function schedule<T extends Transfer>(waiting: readonly T[], running: readonly Transfer[], limits: TransferLimits): readonly T[] {
  const next: T[] = [];
  const underWay = new Map<string | undefined, number>();
  for (const { registry } of running) underWay.set(registry, (underWay.get(registry) ?? 0) + 1);
  for (const transfer of waiting.toSorted((a, b) => a.sizeBytes - b.sizeBytes || (a.digest < b.digest ? -1 : 1))) {
    if (running.length + next.length >= limits.maxParallel) break;
    const fromThere = underWay.get(transfer.registry) ?? 0;
    if (transfer.registry !== undefined && fromThere >= limits.maxParallelPerRegistry) continue;
    underWay.set(transfer.registry, fromThere + 1);
    next.push(transfer);
  }
  return next;
}
