/** What failures of a rollout's own plans mean for the rest of it. Pure. */
import type { FleetNode, Progress, RolloutInput } from "./model.ts";
import type { Failed } from "./standing.ts";

export interface Failure {
  readonly node: FleetNode;
  readonly standing: Failed;
}

export interface Stop {
  readonly reason: "ImpactExceeded" | "SameNewFailure" | "FailureBudgetExceeded";
  readonly message: string;
}

/** @param failures in the order of nodes */
export function stopOf(failures: readonly Failure[], fingerprints: Progress["fingerprints"], input: RolloutInput): Stop | undefined {
  const exceeding = failures.filter(({ standing }) => standing.reason === "ImpactExceeded");
  if (exceeding.length > 0) {
    return { reason: "ImpactExceeded", message: `what it would do to ${names(exceeding.map(nameOf))} disturbs more than was approved` };
  }
  const same = fingerprints.find(({ isNew, nodes }) => isNew && nodes.length > 1);
  if (same !== undefined) {
    return { reason: "SameNewFailure", message: `${names(same.nodes)} fail alike, as none did before: ${same.fingerprint}` };
  }
  const { failureBudget } = input.strategy;
  if (failures.length <= failureBudget) return undefined;
  return {
    reason: "FailureBudgetExceeded",
    message: `${failures.length} failed, ${failureBudget} are borne: ${names(failures.map(nameOf))}`,
  };
}

/** Most nodes first. */
export function fingerprintsOf(failures: readonly Failure[], { knownFingerprints }: RolloutInput): Progress["fingerprints"] {
  const nodesOf = new Map<string, string[]>();
  for (const { node, standing } of failures) {
    if (standing.fingerprint === undefined) continue;
    const nodes = nodesOf.get(standing.fingerprint);
    if (nodes === undefined) nodesOf.set(standing.fingerprint, [node.name]);
    else nodes.push(node.name);
  }
  return [...nodesOf]
    .map(([fingerprint, nodes]) => ({ fingerprint, isNew: !knownFingerprints.has(fingerprint), nodes }))
    .sort((a, b) => b.nodes.length - a.nodes.length || (a.fingerprint < b.fingerprint ? -1 : 1));
}

function nameOf({ node }: Failure): string {
  return node.name;
}

/** The first five, and how many more. */
export function names(all: readonly string[]): string {
  const some = all.slice(0, 5);
  return all.length > some.length ? `${some.join(", ")} and ${all.length - some.length} more` : some.join(", ");
}
