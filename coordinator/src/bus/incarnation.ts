/** Which life of the REPORTS stream a position belongs to; pure. */
import type { ReportPosition } from "./bus.ts";

/**
 * Where to go on. A stream made anew, or one whose last sequence is behind what was logged (it lost its tail in a power cut),
 * is a new incarnation and read from its start.
 * @param created the stream's creation stamp, as the broker tells it
 */
export function resumeAt(after: ReportPosition | undefined, created: string, lastSequence: number): ReportPosition {
  if (after === undefined) return { incarnation: created, sequence: 0 };
  const [base, lives = "0"] = after.incarnation.split("#");
  if (base !== created) return { incarnation: created, sequence: 0 };
  if (lastSequence >= after.sequence) return after;
  return { incarnation: `${created}#${Number(lives) + 1}`, sequence: 0 };
}
