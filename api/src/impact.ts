/** How much changes disturb a node. Whatever is not known counts as the worst. */
import { type Change, Impact, type KubeadmSpec, Step, type StepKind } from "@drover/proto";

const KIND_IMPACT: { readonly [K in Exclude<StepKind, "kubeadm">]: Impact } = {
  binaries: Impact.IMPACT_RESTART,
  kernelModules: Impact.IMPACT_LIVE,
  sysctl: Impact.IMPACT_LIVE,
  swap: Impact.IMPACT_LIVE,
  containerd: Impact.IMPACT_RESTART,
  images: Impact.IMPACT_LIVE,
  kubelet: Impact.IMPACT_RESTART,
};

/** The highest impact among the changes; IMPACT_UNSPECIFIED when there are none. */
export function impactOf(changes: readonly Pick<Change, "impact">[]): Impact {
  let highest: Impact = Impact.IMPACT_UNSPECIFIED;
  for (const { impact } of changes) highest = Math.max(highest, isKnown(impact) ? impact : Impact.IMPACT_REBOOT) as Impact;
  return highest;
}

function isKnown(impact: Impact): boolean {
  return impact >= Impact.IMPACT_LIVE && impact <= Impact.IMPACT_REBOOT;
}

/**
 * The most that going from one list of steps to another can disturb; at least IMPACT_LIVE, which drift repair always may.
 * @param before what the node is known to enforce, not what was merely desired; undefined: nothing
 */
export function upperBoundImpact(before: readonly Step[] | undefined, after: readonly Step[]): Impact {
  return Math.max(Impact.IMPACT_LIVE, ...stepImpacts(before, after).map(({ impact }) => impact)) as Impact;
}

export interface StepImpact {
  /** Of the step as it will be, or as it was where it goes. */
  readonly id: string;
  readonly kind: StepKind | undefined;
  readonly before: Step | undefined;
  readonly after: Step | undefined;
  readonly impact: Impact;
}

/** The steps that differ, those that stay or come in the plan's order first, and the most that each can disturb. @param before as above */
export function stepImpacts(before: readonly Step[] | undefined, after: readonly Step[]): readonly StepImpact[] {
  const old = byKind(before ?? []);
  const young = byKind(after);
  const kinds = [...new Set([...young.keys(), ...old.keys()])].filter((kind) => !isSame(old.get(kind), young.get(kind)));
  return kinds.map((kind) => {
    const [was, is] = [old.get(kind), young.get(kind)];
    return { id: (is ?? was)?.id ?? "", kind, before: was, after: is, impact: kindImpact(kind, was, is) };
  });
}

function kindImpact(kind: StepKind | undefined, before: Step | undefined, after: Step | undefined): Impact {
  if (kind === undefined) return Impact.IMPACT_REBOOT;
  return kind === "kubeadm" ? kubeadmImpact(kubeadmOf(before), kubeadmOf(after)) : KIND_IMPACT[kind];
}

/** A node that leaves a cluster, for another one, for the same or for none, loses what runs on it. */
function kubeadmImpact(before: KubeadmSpec | undefined, after: KubeadmSpec | undefined): Impact {
  if (before === undefined && after?.rejoin === 0) return Impact.IMPACT_RESTART;
  const isSameMembership =
    before?.cluster === after?.cluster &&
    before?.rejoin === after?.rejoin &&
    before?.nodeName === after?.nodeName &&
    before?.caCertHashes.join() === after?.caCertHashes.join();
  return isSameMembership ? Impact.IMPACT_RESTART : Impact.IMPACT_DRAIN;
}

function kubeadmOf(step: Step | undefined): KubeadmSpec | undefined {
  return step?.spec?.$case === "kubeadm" ? step.spec.value : undefined;
}

function byKind(steps: readonly Step[]): Map<StepKind | undefined, Step> {
  return new Map(steps.map((step) => [step.spec?.$case, step]));
}

function isSame(a: Step | undefined, b: Step | undefined): boolean {
  return a !== undefined && b !== undefined && Buffer.from(Step.encode(a).finish()).equals(Step.encode(b).finish());
}
