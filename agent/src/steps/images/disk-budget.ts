/** Whether what is missing fits on containerd's disk; pure. */

/** A compressed byte is kept, and unpacks to about two more. */
const DISK_BYTES_PER_COMPRESSED = 3;

export interface DiskBudget {
  readonly missingBytes: number;
  readonly minFreeBytes: number;
  readonly freeBytes: number;
}

/** undefined: it fits. */
export function overBudget({ missingBytes, minFreeBytes, freeBytes }: DiskBudget): string | undefined {
  const neededBytes = missingBytes * DISK_BYTES_PER_COMPRESSED + minFreeBytes;
  if (neededBytes <= freeBytes) return undefined;
  return (
    `${mebibytes(neededBytes)} needed (${DISK_BYTES_PER_COMPRESSED} x ${mebibytes(missingBytes)} compressed, and ` +
    `${mebibytes(minFreeBytes)} to stay free), ${mebibytes(freeBytes)} free: nothing was pulled`
  );
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
