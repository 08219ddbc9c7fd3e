/** The other ways of asking whether a silent node lives: what they can answer, and how answers of several are taken together. Pure, but for the port. */

export type Evidence =
  /** Something on the machine answered. */
  | "alive"
  /** Nothing of it has moved or answered, and what was asked would have shown it. */
  | "dead"
  /** It could not be asked, or the answer proves nothing. */
  | "none";

export interface SecondPath {
  /** Whether the node can be asked in any way at all. Contacts nobody. */
  hasPath(nodeId: string): boolean;
  /** May take many seconds; ends soon after the signal aborts. */
  ask(nodeId: string, signal: AbortSignal): Promise<Evidence>;
}

/** One sign of life outweighs everything else. */
export function together(evidence: readonly Evidence[]): Evidence {
  if (evidence.includes("alive")) return "alive";
  return evidence.includes("dead") ? "dead" : "none";
}

/** Several ways as one. @param paths all that there are; those that a node does not have are passed over */
export function allPaths(paths: readonly SecondPath[]): SecondPath {
  return {
    hasPath: (nodeId) => paths.some((path) => path.hasPath(nodeId)),
    ask: async (nodeId, signal) =>
      together(await Promise.all(paths.filter((path) => path.hasPath(nodeId)).map((path) => path.ask(nodeId, signal)))),
  };
}
