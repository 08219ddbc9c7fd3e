/** What moving a node from what was decided for it to other steps can disturb at most. Pure. */
import type { ImpactName } from "@drover/api";
import { Impact, type Step } from "@drover/proto";
import type { DesiredNode } from "../records.ts";
import { stepImpactsOnce } from "./step-impacts-once.ts";
import { toldPlan } from "./told-plan.ts";

export interface MoveFrom {
  readonly before: DesiredNode | undefined;
  /** Whether the node enforces what was decided before; else nobody knows what is on it. */
  readonly isBeforeEnforced: boolean;
  /** The highest impact of its open drift, which the same plan mends; IMPACT_UNSPECIFIED: none. */
  readonly drift: Impact;
}

export interface MoveImpact {
  /** At least IMPACT_LIVE, which drift repair always may. */
  readonly bound: Impact;
  /** By step id: the steps that may change something; not more than bound in all. */
  readonly steps: ReadonlyMap<string, Impact>;
}

export function moveImpact({ before, isBeforeEnforced, drift }: MoveFrom, steps: readonly Step[]): MoveImpact {
  const plan = before === undefined ? undefined : toldPlan(before);
  const changes = [
    ...stepImpactsOnce(plan?.steps, steps),
    // How far it came is not known: what it, or one before it, changed or was to put back may still have to be put back.
    ...(plan === undefined || isBeforeEnforced ? [] : stepImpactsOnce(undefined, steps)),
  ];
  const byStep = new Map<string, Impact>();
  for (const { id, impact } of changes) byStep.set(id, Math.max(impact, byStep.get(id) ?? 0) as Impact);
  const unknown = plan === undefined || isBeforeEnforced ? Impact.IMPACT_UNSPECIFIED : plan.impactBound;
  return { bound: Math.max(Impact.IMPACT_LIVE, drift, unknown, ...byStep.values()) as Impact, steps: byStep };
}

const NAMES: Readonly<Record<number, ImpactName>> = {
  [Impact.IMPACT_UNSPECIFIED]: "none",
  [Impact.IMPACT_LIVE]: "live",
  [Impact.IMPACT_RESTART]: "restart",
  [Impact.IMPACT_DRAIN]: "drain",
};

/** What is not known counts as the worst. */
export function impactName(impact: Impact): ImpactName {
  return NAMES[impact] ?? "reboot";
}
