/** What a rollout of one set would disturb at most, wave by wave, before anybody starts it. Pure. */
import type { Labels } from "@drover/api";
import { Impact, type DomainForecast, type RolloutForecast, type StepForecast, type WaveForecast } from "@drover/proto";
import type { MoveImpact } from "../dispatch/move-impact.ts";
import type { ResolvedStrategy } from "./model.ts";
import { ordered } from "./roll-call.ts";
import { worstDomains } from "./rollout-impact.ts";
import { slicesOf } from "./waves.ts";

export interface ForecastNode {
  readonly nodeId: string;
  readonly name: string;
  readonly labels: Labels;
  readonly verdict: "healthy" | "unhealthy" | "unknown";
  /** undefined: it has the revision already. */
  readonly impact: MoveImpact | undefined;
  /** Why no plan can be made for it; undefined: nothing known against it. */
  readonly obstacle: string | undefined;
}

export interface ForecastInput {
  readonly nodeSet: string;
  readonly revision: string;
  readonly nodes: readonly ForecastNode[];
  readonly strategy: ResolvedStrategy;
  /** What the whole set knows against it: windows, other sets, a hold. */
  readonly warnings: readonly string[];
}

const SAMPLE = 5;
/** Looked at where the strategy has no budgets. */
const DOMAINS = ["topology.kubernetes.io/zone", "topology.drover.dev/rack"];

export function forecastOf({ nodeSet, revision, nodes, strategy, warnings }: ForecastInput): RolloutForecast {
  const order = ordered(nodes, strategy);
  const impactBound = boundOf(nodes);
  const waves = slicesOf(strategy, nodes.length, 0).map(({ name, from, to }, index, slices): WaveForecast => {
    const own = [...order.subarray(from, to)].map((each) => nodes[each]!);
    const isLast = index === slices.length - 1;
    return {
      name,
      nodes: own.length,
      impactBound: boundOf(own),
      needsApproval: strategy.approvals.has(index + 1) || (isLast && [...strategy.approvals].some((wave) => wave > index + 1)),
      sample: own.slice(0, SAMPLE).map((node) => node.name),
      atOnce: atOnce(own, nodes, strategy),
    };
  });
  const keys = strategy.budgets.length > 0 ? strategy.budgets : DOMAINS.map((topologyKey) => ({ topologyKey, atOnce: (of: number) => of }));
  return {
    nodeSet,
    revision,
    nodes: nodes.length,
    updated: nodes.filter(({ impact }) => impact === undefined).length,
    impactBound,
    steps: stepsOf(nodes),
    waves,
    worst: worstDomains(nodes, { budgets: keys, maxUnavailable: strategy.maxUnavailable }).map((domain): DomainForecast => domain),
    warnings: [...warnings, ...nodeWarnings(nodes, strategy, impactBound)],
  };
}

function boundOf(nodes: readonly ForecastNode[]): Impact {
  return nodes.reduce<Impact>((bound, { impact }) => Math.max(bound, impact?.bound ?? 0) as Impact, Impact.IMPACT_UNSPECIFIED);
}

/** Worst first, then in the order of the plan. */
function stepsOf(nodes: readonly ForecastNode[]): StepForecast[] {
  const steps = new Map<string, { impact: Impact; nodes: number }>();
  for (const { impact } of nodes) {
    for (const [step, own] of impact?.steps ?? []) {
      const known = steps.get(step) ?? { impact: own, nodes: 0 };
      steps.set(step, { impact: Math.max(known.impact, own) as Impact, nodes: known.nodes + 1 });
    }
  }
  return [...steps].map(([step, known]) => ({ step, ...known })).sort((a, b) => b.impact - a.impact);
}

/** A bound: every limit on its own lets at most so many be in change. */
function atOnce(
  wave: readonly ForecastNode[],
  all: readonly ForecastNode[],
  { maxUnavailable, budgets, exclusive }: ResolvedStrategy,
): number {
  const moved = wave.filter(({ impact }) => impact !== undefined);
  const byKey = budgets.map(({ topologyKey, atOnce: limit }) => {
    const sizes = countBy(all, topologyKey);
    const moving = countBy(moved, topologyKey);
    return [...moving].reduce((sum, [value, count]) => sum + (value === undefined ? count : Math.min(count, limit(sizes.get(value)!))), 0);
  });
  const counts = exclusive === undefined ? undefined : countBy(moved, exclusive);
  const alone =
    counts && (counts.get(undefined) ?? 0) + Math.max(0, ...[...counts].flatMap(([value, count]) => (value === undefined ? [] : [count])));
  return Math.min(moved.length, maxUnavailable, ...byKey, ...(alone === undefined ? [] : [alone]));
}

function countBy(nodes: readonly ForecastNode[], key: string): Map<string | undefined, number> {
  const counts = new Map<string | undefined, number>();
  for (const { labels } of nodes) counts.set(labels[key], (counts.get(labels[key]) ?? 0) + 1);
  return counts;
}

function nodeWarnings(nodes: readonly ForecastNode[], { isAll }: ResolvedStrategy, bound: Impact): string[] {
  if (nodes.length === 0) return ["no node belongs to the set; look at its selector and at: drover get nodes"];
  const warnings: string[] = [];
  if (isAll && bound > Impact.IMPACT_LIVE) {
    warnings.push("all nodes at once is only for changes that are live, and this one is not: it would not begin; lower maxUnavailable");
  } else if (isAll) {
    warnings.push(`all ${nodes.length} nodes would move at once, and only after: drover rollout resume ROLLOUT --nodes ${nodes.length}`);
  }
  const told = (found: readonly ForecastNode[], text: string): void => {
    if (found.length > 0) warnings.push(`${found.length === 1 ? "1 node" : `${found.length} nodes`} ${text}: ${namesOf(found)}`);
  };
  told(
    nodes.filter(({ verdict }) => verdict === "unknown"),
    "would not be moved while their health is unknown",
  );
  told(
    nodes.filter(({ verdict, impact }) => verdict === "unhealthy" && impact !== undefined),
    "would not be moved while they are unhealthy",
  );
  const obstructed = nodes.filter(({ obstacle }) => obstacle !== undefined);
  told(obstructed, `cannot be given this (${obstructed[0]?.obstacle})`);
  return warnings;
}

function namesOf(nodes: readonly ForecastNode[]): string {
  const some = nodes.slice(0, SAMPLE).map(({ name }) => name);
  return nodes.length > some.length ? `${some.join(", ")} and ${nodes.length - some.length} more` : some.join(", ");
}
