/** The steps of a decided plan, read once per decision. */
import { Plan, type StepKind } from "@drover/proto";
import type { DesiredNode } from "../records.ts";

export interface PlannedStep {
  readonly id: string;
  readonly kind: StepKind | undefined;
}

interface Planned {
  readonly steps: readonly PlannedStep[];
  readonly probes: readonly string[];
}

const cache = new WeakMap<DesiredNode, Planned>();

export function plannedSteps(desired: DesiredNode): readonly PlannedStep[] {
  return planned(desired).steps;
}

/** Names of the probes that the node asks; each is told as condition Probe-NAME. */
export function plannedProbes(desired: DesiredNode): readonly string[] {
  return planned(desired).probes;
}

function planned(desired: DesiredNode): Planned {
  let known = cache.get(desired);
  if (known === undefined) {
    const { steps, probes } = Plan.decode(Buffer.from(desired.plan, "base64"));
    known = { steps: steps.map(({ id, spec }) => ({ id, kind: spec?.$case })), probes: probes.map(({ name }) => name) };
    cache.set(desired, known);
  }
  return known;
}

const lackingCache = new WeakMap<DesiredNode, { readonly stepKinds: readonly string[]; readonly lacking: readonly string[] }>();

/** Step kinds of the plan that an agent with these kinds lacks. Asked for each node of a set at each look. */
export function lackingKinds(desired: DesiredNode, stepKinds: readonly string[]): readonly string[] {
  const known = lackingCache.get(desired);
  if (known?.stepKinds === stepKinds) return known.lacking;
  const lacking = findLacking(desired, stepKinds);
  lackingCache.set(desired, { stepKinds, lacking });
  return lacking;
}

function findLacking(desired: DesiredNode, stepKinds: readonly string[]): readonly string[] {
  const kinds = plannedSteps(desired).map(({ kind }) => kind ?? "?");
  return [...new Set(kinds)].filter((kind) => !stepKinds.includes(kind));
}

/** Whether pair a is older than pair b. */
export function isOlder(
  a: { readonly planEpoch: number; readonly generation: number },
  b: { readonly planEpoch: number; readonly generation: number },
): boolean {
  return a.planEpoch < b.planEpoch || (a.planEpoch === b.planEpoch && a.generation < b.generation);
}
