/** What is asked of decided plans at each look, read once per decision; one object for plans that say the same. */
import type { KubeadmSpec, StepKind } from "@drover/proto";
import type { DesiredNode } from "../records.ts";
import { FadingMap } from "../resources/fading-map.ts";
import { type ToldPlan, toldPlan } from "./told-plan.ts";

export interface PlannedStep {
  readonly id: string;
  readonly kind: StepKind | undefined;
}

export interface PlannedJoin {
  readonly stepId: string;
  readonly spec: KubeadmSpec;
}

export interface Planned {
  readonly steps: readonly PlannedStep[];
  readonly probes: readonly string[];
  /** undefined: the plan puts the node in no cluster. */
  readonly join: PlannedJoin | undefined;
}

const cache = new FadingMap<DesiredNode, Planned>();
const ofTold = new WeakMap<ToldPlan, Planned>();

export function plannedSteps(desired: DesiredNode): readonly PlannedStep[] {
  return planned(desired).steps;
}

/** Names of the probes that the node asks; each is told as condition Probe-NAME. */
export function plannedProbes(desired: DesiredNode): readonly string[] {
  return planned(desired).probes;
}

export function planned(desired: DesiredNode): Planned {
  let known = cache.get(desired);
  if (known === undefined) {
    known = plannedIn(toldPlan(desired));
    cache.set(desired, known);
  }
  return known;
}

function plannedIn(told: ToldPlan): Planned {
  let known = ofTold.get(told);
  if (known === undefined) {
    const steps = told.steps.map(({ id, spec }) => ({ id, kind: spec?.$case }));
    ofTold.set(told, (known = { steps, probes: told.probes.map(({ name }) => name), join: joinIn(told) }));
  }
  return known;
}

function joinIn({ steps }: ToldPlan): PlannedJoin | undefined {
  for (const { id, spec } of steps) {
    if (spec?.$case === "kubeadm" && spec.value.cluster !== "") return { stepId: id, spec: spec.value };
  }
  return undefined;
}

const lackingCache = new WeakMap<Planned, { readonly stepKinds: readonly string[]; readonly lacking: readonly string[] }>();

/** Step kinds of the plan that an agent with these kinds lacks. Asked for each node of a set at each look. */
export function lackingKinds(desired: DesiredNode, stepKinds: readonly string[]): readonly string[] {
  const own = planned(desired);
  const known = lackingCache.get(own);
  if (known !== undefined && isSame(known.stepKinds, stepKinds)) return known.lacking;
  const lacking = findLacking(own, stepKinds);
  lackingCache.set(own, { stepKinds, lacking });
  return lacking;
}

/** Each agent brings a list of its own. */
function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((kind, index) => kind === b[index]));
}

function findLacking({ steps }: Planned, stepKinds: readonly string[]): readonly string[] {
  const kinds = steps.map(({ kind }) => kind ?? "?");
  return [...new Set(kinds)].filter((kind) => !stepKinds.includes(kind));
}

/** Whether pair a is older than pair b. */
export function isOlder(
  a: { readonly planEpoch: number; readonly generation: number },
  b: { readonly planEpoch: number; readonly generation: number },
): boolean {
  return a.planEpoch < b.planEpoch || (a.planEpoch === b.planEpoch && a.generation < b.generation);
}
