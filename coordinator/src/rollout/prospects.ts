/** What moving a node to a set's revision would disturb, or why it cannot be made for it; remembered, because sets are looked at often. */
import { formatProblem, type Membership } from "@drover/api";
import { Impact, type Facts, type StepKind } from "@drover/proto";
import { compileOnce } from "../dispatch/compile-once.ts";
import { namedAsBefore } from "../dispatch/desired.ts";
import { type MoveFrom, type MoveImpact, moveImpact } from "../dispatch/move-impact.ts";
import { type Planned, planned } from "../dispatch/planned-steps.ts";
import type { Resolution } from "../resources/revisions.ts";

export type Target = Extract<Resolution, { readonly ok: true }>;

/** More kinds of moves than any fleet has at once; beyond that it is a fleet of many changes, and old ones do not come again. */
const MAX_KINDS = 2_000;
const NOTHING: MoveImpact = { bound: Impact.IMPACT_LIVE, steps: new Map() };

export interface Made {
  /** Why it cannot be compiled; undefined: it can. */
  readonly obstacle: string | undefined;
  /** What an agent must be able to do. */
  readonly stepKinds: readonly StepKind[];
}

export class Prospects {
  readonly #compiled = new WeakMap<Facts, { readonly revision: string; readonly made: Made }>();
  readonly #byKind = new Map<string, MoveImpact>();
  /** Where it is not known what is on the node, by what it was told. */
  readonly #byPlan = new WeakMap<Planned, { readonly key: string; readonly impact: MoveImpact }>();

  /** What the target becomes for a node with these facts. Without facts nothing is known against it. */
  made(facts: Facts | undefined, { profile, locks, membership, revision }: Target): Made {
    if (facts === undefined) return { obstacle: undefined, stepKinds: [] };
    const held = this.#compiled.get(facts);
    if (held?.revision === revision) return held.made;
    const compiled = compileOnce(profile, locks, facts, membership);
    const made = compiled.ok
      ? { obstacle: undefined, stepKinds: [...new Set(compiled.steps.flatMap(({ spec }) => spec?.$case ?? []))] }
      : { obstacle: compiled.problems.map(formatProblem).join("; "), stepKinds: [] };
    this.#compiled.set(facts, { revision, made });
    return made;
  }

  /**
   * Nodes that enforce the same revision go the same way: what differs between their plans is only who they are.
   * @param rejoin of its NodeRecord; @param node whose facts are read where the way is not known yet
   */
  impact(from: MoveFrom, target: Target, rejoin: number, node: { readonly facts: Facts | undefined } | undefined): MoveImpact {
    const { before, isBeforeEnforced, drift } = from;
    const key = [target.revision, before?.revision, before?.rejoin, rejoin, isBeforeEnforced, drift].join("|");
    if (before !== undefined && !isBeforeEnforced) {
      const plan = planned(before);
      const held = this.#byPlan.get(plan);
      if (held?.key === key) return held.impact;
      const impact = impactTo(from, target, rejoin, node?.facts);
      if (impact !== undefined) this.#byPlan.set(plan, { key, impact });
      return impact ?? NOTHING;
    }
    let impact = this.#byKind.get(key);
    if (impact === undefined) {
      if (this.#byKind.size >= MAX_KINDS) this.#byKind.clear();
      impact = impactTo(from, target, rejoin, node?.facts);
      // That nothing can be made for one of them says nothing of the others.
      if (impact !== undefined) this.#byKind.set(key, impact);
    }
    return impact ?? NOTHING;
  }
}

/** @returns undefined: the target cannot be made for a node with these facts */
function impactTo(
  from: MoveFrom,
  { profile, locks, membership }: Target,
  rejoin: number,
  facts: Facts | undefined,
): MoveImpact | undefined {
  const own: Membership | undefined = membership && namedAsBefore({ ...membership, rejoin }, from.before);
  const compiled = compileOnce(profile, locks, facts, own);
  return compiled.ok ? moveImpact(from, compiled.steps) : undefined;
}
