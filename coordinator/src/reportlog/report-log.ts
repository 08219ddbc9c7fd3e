/** Raw report batches: one row and one fsync per pull. What nodes reported, in the order it came. */
import type { ReportMessage, ReportPosition, ReportPull } from "../bus/bus.ts";

export interface ReportLog {
  /** Durable when resolved. A pull whose sequences are there already (same incarnation) is taken once. @returns the last row of the log */
  append(pull: ReportPull, atMs: number): Promise<number>;
  /** The last position logged; undefined: empty. */
  position(): Promise<ReportPosition | undefined>;
  /** Every pull after the given row, oldest first. */
  read(afterRow: number): AsyncIterable<{ readonly row: number; readonly atMs: number; readonly messages: readonly ReportMessage[] }>;
  /** Drops rows older than the age, or the oldest beyond the size; never rows after keepAfterRow. */
  prune(options: { readonly olderThanMs: number; readonly maxBytes: number; readonly keepAfterRow: number }): Promise<void>;
  close(): Promise<void>;
}
