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

export const equivalentFaults: readonly EquivalentFault[] = [
  {
    file: "roll-call.ts",
    source: "export const FRESH = 2;",
    fault: "one more",
    reason: "a name of a state: 3 differs from the others as 2 does, and nobody knows it by its number",
  },
  {
    file: "roll-call.ts",
    source: "const group = canary?.prefers(labels) === true ? place : place + places.size + 1;",
    fault: "one more",
    reason: "one group between the preferred and the others stays empty: the order is the same",
  },
  {
    file: "blocks.ts",
    source: "const atMs = (node.desired?.decidedAtMs ?? 0) + SLOT_EVERY_MS;",
    fault: "one more",
    reason: "only a node that is updated gets there, and to be that something was decided for it",
  },
];
