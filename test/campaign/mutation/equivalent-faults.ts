/** Faults that change nothing anybody could see, each with the reason; they are not planted. */

export interface EquivalentFault {
  /** Name of the file. */
  readonly file: string;
  /** The line, trimmed, as Fault.source. */
  readonly source: string;
  /** As Fault.name. */
  readonly fault: string;
  readonly reason: string;
}

export const equivalentFaults: readonly EquivalentFault[] = [];
