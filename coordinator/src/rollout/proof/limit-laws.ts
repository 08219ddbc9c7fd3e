/** I3: how many nodes may be in change or away at once, of the set, of each value of each key, and of the exclusive key. */
import type { Elsewhere, FleetNode } from "../model.ts";
import type { Call, Law } from "./law.ts";
import { impactRank, isInChange, isUnavailable } from "./reading.ts";

/**
 * How a limit over `nodes` is broken by what was begun, if it is. Whoever was in change stays counted; whoever joins needs room among those in change,
 * and one that was there for its workloads until now needs room among all that are away.
 * @param others counted too: in change or away in other sets
 */
function overLimit(
  { input, now, begun }: Call,
  nodes: readonly FleetNode[],
  limit: number,
  others: readonly Elsewhere[],
): string | undefined {
  const besides = others.length;
  const changingElsewhere = others.filter((other) => other.isInChange).length;
  const own = new Set(nodes);
  const starting = begun.filter((node) => own.has(node));
  const changing = nodes.filter((node) => isInChange(node, input, now));
  const joining = starting.filter((node) => !isInChange(node, input, now));
  if (joining.length === 0) return undefined;
  const inChange = changing.length + joining.length + changingElsewhere;
  if (inChange > limit)
    return `${namesOf(joining)} join ${namesOf(changing)} and ${changingElsewhere} elsewhere: ${inChange} in change, ${limit} allowed`;
  const away = nodes.filter((node) => isUnavailable(node, input, now));
  const taken = joining.filter((node) => !isUnavailable(node, input, now));
  if (taken.length === 0) return undefined;
  const unavailable = away.length + taken.length + besides;
  return unavailable > limit
    ? `${namesOf(taken)} join ${namesOf(away)} and ${besides} elsewhere: ${unavailable} away, ${limit} allowed`
    : undefined;
}

function namesOf(nodes: readonly FleetNode[]): string {
  return nodes.length === 0 ? "nobody" : nodes.map(({ name }) => name).join(", ");
}

function overBudget(call: Call, index: 0 | 1): string | undefined {
  const budget = call.input.strategy.budgets[index];
  if (budget === undefined) return undefined;
  const { topologyKey, atOnce } = budget;
  const values = new Set(call.fleet.flatMap(({ labels }) => labels[topologyKey] ?? []));
  for (const value of values) {
    const nodes = call.fleet.filter(({ labels }) => labels[topologyKey] === value);
    const others = call.elsewhere.filter(({ labels }) => labels[topologyKey] === value);
    const words = overLimit(call, nodes, atOnce(nodes.length), others);
    if (words !== undefined) return `${topologyKey} ${value}: ${words}`;
  }
  return undefined;
}

export const limitLaws: readonly Law[] = [
  {
    name: "I3: never more in change, nor more away for our sake, than maxUnavailable",
    broken: (call) => overLimit(call, call.fleet, call.input.strategy.maxUnavailable, []),
  },
  {
    name: "I3: never more in change or away than the first budget allows, in any value of its key, other sets included",
    broken: (call) => overBudget(call, 0),
  },
  {
    name: "I3: never more in change or away than the second budget allows at the same time",
    broken: (call) => overBudget(call, 1),
  },
  {
    name: "I3: never begins in a second value of the exclusive key, of this set or of another",
    broken: ({ input, fleet, elsewhere, now, begun }) => {
      const key = input.strategy.exclusive;
      if (key === undefined) return undefined;
      const starting = new Set(begun);
      const joining = begun.filter((node) => !isInChange(node, input, now) && node.labels[key] !== undefined);
      const held = [
        ...fleet.filter((node) => starting.has(node) || isInChange(node, input, now)),
        ...elsewhere.filter((other) => other.isInChange),
      ].filter(({ labels }) => labels[key] !== undefined);
      for (const node of joining) {
        const other = held.find(({ labels }) => labels[key] !== node.labels[key]);
        if (other !== undefined) return `${node.name} (${node.labels[key]}) begins beside ${other.name} (${other.labels[key]})`;
      }
      return undefined;
    },
  },
  {
    name: "I3: what an operator or a repair has taken out is counted as in change",
    broken: (call) => {
      const held = call.fleet.filter(({ maintenance }) => maintenance !== undefined && maintenance.owner !== "Rollout").length;
      const joining = call.begun.filter((node) => !isInChange(node, call.input, call.now));
      return joining.length > 0 && joining.length + held > call.input.strategy.maxUnavailable
        ? `${namesOf(joining)} join ${held} under maintenance`
        : undefined;
    },
  },
  {
    name: "all at once begins nobody unless the count was confirmed",
    broken: ({ input, fleet, begun }) =>
      input.strategy.isAll && input.confirmedNodes !== fleet.length && begun.length > 0
        ? `${begun.length} begun, ${input.confirmedNodes ?? "no count"} confirmed of ${fleet.length}`
        : undefined,
  },
  {
    name: "all at once begins nobody whose change is above live",
    broken: ({ input, begun }) => {
      const node = input.strategy.isAll
        ? begun.find(
            ({ impact, drift }) =>
              impactRank(impact) > impactRank("live") || (drift !== undefined && impactRank(drift.impact) > impactRank("live")),
          )
        : undefined;
      return node && `${node.name} begins with ${node.impact}`;
    },
  },
];
