/** A disrupted cell as people and rollouts are told of it. */

export interface Disruption {
  /** Reads as words: "zone a". */
  readonly cell: string;
  readonly sinceUnixMs: number;
}

/** The disrupted cell that a node is in; undefined: all of its cells are calm. */
export type DisruptionOf = (nodeId: string) => Disruption | undefined;

/** Without numbers: it is stored with the rollout, which is not to be written each time one more node falls silent. */
export function disruptionText({ cell }: Disruption): string {
  return `many nodes of its ${cell} fell silent together: nobody there is called dead and nothing is moved until they are heard again, revoked or deleted`;
}
