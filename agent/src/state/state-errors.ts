/** How durable state fails. All of it is fatal: the process exits, starts again and recovers from what is on disk. */

/** A record that was durable once is damaged: no guess is made about what it said. */
export class DamagedLog extends Error {
  override readonly name = "DamagedLog";
  readonly isFatal = true;
  readonly file: string;
  readonly offset: number;

  constructor(file: string, offset: number, what: string) {
    super(`${file} is damaged at byte ${offset}: ${what}. Move the file away to start without it, and report the disk.`);
    this.file = file;
    this.offset = offset;
  }
}

/** After a failed write or fsync nobody knows what is on disk; trying again would lie. */
export class StorageFailed extends Error {
  override readonly name = "StorageFailed";
  readonly isFatal = true;

  constructor(file: string, cause: unknown) {
    super(`writing ${file} failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
