/** What differs between two lists of steps, found once for the same two: in a rollout they are the same for nearly all nodes. Pure but for what it remembers. */
import { type StepImpact, stepImpacts } from "@drover/api";
import type { Step } from "@drover/proto";

const NOT_KNOWN: readonly Step[] = [];
const found = new WeakMap<readonly Step[], WeakMap<readonly Step[], readonly StepImpact[]>>();

/** As stepImpacts. Lists are told apart by identity, and must not be changed. */
export function stepImpactsOnce(before: readonly Step[] | undefined, after: readonly Step[]): readonly StepImpact[] {
  let byBefore = found.get(after);
  if (byBefore === undefined) found.set(after, (byBefore = new WeakMap()));
  let impacts = byBefore.get(before ?? NOT_KNOWN);
  if (impacts === undefined) byBefore.set(before ?? NOT_KNOWN, (impacts = stepImpacts(before, after)));
  return impacts;
}
