/** The most that a whole rollout can disturb, worked out when it begins. Pure. */
import type { Labels, Rollout } from "@drover/api";
import { Impact } from "@drover/proto";
import { impactName, type MoveImpact } from "../dispatch/move-impact.ts";
import type { ResolvedStrategy } from "./model.ts";

export type RolloutImpact = NonNullable<NonNullable<Rollout["status"]>["impact"]>;

export interface ProspectiveMove {
  readonly labels: Labels;
  /** undefined: it has the revision already. */
  readonly impact: MoveImpact | undefined;
}

/** @param nodes of the whole set */
export function rolloutImpact(nodes: readonly ProspectiveMove[], strategy: ResolvedStrategy): RolloutImpact {
  let bound: Impact = Impact.IMPACT_UNSPECIFIED;
  const steps = new Map<string, { impact: Impact; nodes: number }>();
  for (const { impact } of nodes) {
    if (impact === undefined) continue;
    bound = Math.max(bound, impact.bound) as Impact;
    for (const [step, own] of impact.steps) {
      const known = steps.get(step) ?? { impact: own, nodes: 0 };
      steps.set(step, { impact: Math.max(known.impact, own) as Impact, nodes: known.nodes + 1 });
    }
  }
  return {
    bound: impactName(bound),
    steps: [...steps].map(([step, known]) => ({ step, impact: impactName(known.impact), nodes: known.nodes })),
    worst: worstDomains(nodes, strategy),
  };
}

/** For each key the value that is hit hardest at once. */
export function worstDomains(
  nodes: readonly ProspectiveMove[],
  { budgets, maxUnavailable }: Pick<ResolvedStrategy, "budgets" | "maxUnavailable">,
): RolloutImpact["worst"] {
  return budgets.flatMap(({ topologyKey, atOnce }) => worstOf(nodes, topologyKey, atOnce, maxUnavailable) ?? []);
}

/** The value of the key of whose nodes the largest share is in change at once. */
function worstOf(
  nodes: readonly ProspectiveMove[],
  topologyKey: string,
  atOnce: (nodesWithValue: number) => number,
  maxUnavailable: number,
): RolloutImpact["worst"][number] | undefined {
  const counts = new Map<string, { of: number; moved: number }>();
  for (const { labels, impact } of nodes) {
    const value = labels[topologyKey];
    if (value === undefined) continue;
    const count = counts.get(value) ?? { of: 0, moved: 0 };
    counts.set(value, { of: count.of + 1, moved: count.moved + (impact === undefined ? 0 : 1) });
  }
  let worst: RolloutImpact["worst"][number] | undefined;
  for (const [value, { of, moved }] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const hit = Math.min(moved, atOnce(of), maxUnavailable);
    if (hit > 0 && (worst === undefined || hit * worst.of > worst.nodes * of)) worst = { topologyKey, value, nodes: hit, of };
  }
  return worst;
}
