/** How much changes disturb a node. Whatever is not known counts as the worst. */
import { type Change, Impact, Step, type StepKind } from "@drover/proto";

const KIND_IMPACT: { readonly [K in StepKind]: Impact } = {
  sysctl: Impact.IMPACT_LIVE,
  containerd: Impact.IMPACT_RESTART,
  images: Impact.IMPACT_LIVE,
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
  const old = byKind(before ?? []);
  const young = byKind(after);
  const changed = [...new Set([...old.keys(), ...young.keys()])].filter((kind) => !isSame(old.get(kind), young.get(kind)));
  return Math.max(Impact.IMPACT_LIVE, ...changed.map((kind) => (kind === undefined ? Impact.IMPACT_REBOOT : KIND_IMPACT[kind]))) as Impact;
}

function byKind(steps: readonly Step[]): Map<StepKind | undefined, Step> {
  return new Map(steps.map((step) => [step.spec?.$case, step]));
}

function isSame(a: Step | undefined, b: Step | undefined): boolean {
  return a !== undefined && b !== undefined && Buffer.from(Step.encode(a).finish()).equals(Step.encode(b).finish());
}
