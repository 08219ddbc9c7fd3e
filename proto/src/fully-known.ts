/**
 * The strictness of plans: an unknown field or an undefined oneof, at any depth, makes a plan unfit.
 * All other messages ignore what they do not know.
 */
import { Impact, Plan, type Step, SwapMode } from "../gen/drover/v1/plan.ts";

export type PlanDecoding =
  | { readonly ok: true; readonly plan: Plan }
  | { readonly ok: false; readonly reason: "InvalidPlan" | "UnknownField"; readonly message: string };

const KNOWN_SWAP_MODES: ReadonlySet<number> = new Set(Object.values(SwapMode).filter((value) => value >= 0));
const KNOWN_IMPACTS: ReadonlySet<number> = new Set(Object.values(Impact).filter((value) => value >= 0));

/**
 * Decodes plan bytes strictly.
 * @param bytes an encoded Plan, as in SignedPlan.plan
 */
export function decodePlan(bytes: Uint8Array): PlanDecoding {
  let plan: Plan;
  try {
    plan = Plan.decode(bytes);
  } catch (error) {
    return { ok: false, reason: "InvalidPlan", message: `plan does not decode: ${(error as Error).message}` };
  }
  const unknown = findUnknown(plan, "plan");
  if (unknown !== undefined) return { ok: false, reason: "UnknownField", message: unknown };
  // Unknown fields of map entries, repeated singular fields and unusual encodings are not kept by the decoder: what we read must be what was sent.
  if (!Buffer.from(Plan.encode(plan).finish()).equals(bytes)) {
    return { ok: false, reason: "UnknownField", message: "plan bytes hold more than its fields (or are not canonically encoded)" };
  }
  if (!KNOWN_IMPACTS.has(plan.impactBound)) {
    return { ok: false, reason: "UnknownField", message: `plan.impact_bound has the unknown value ${plan.impactBound}` };
  }
  const unknownMode = plan.steps.find(({ spec }) => spec?.$case === "swap" && !KNOWN_SWAP_MODES.has(spec.value.mode));
  if (unknownMode !== undefined) {
    return { ok: false, reason: "UnknownField", message: `step ${unknownMode.id} has an unknown swap mode` };
  }
  return { ok: true, plan };
}

/** The oneof case of a step's spec. */
export type StepKind = NonNullable<Step["spec"]>["$case"];
/** The spec message of a step kind. */
export type SpecOf<K extends StepKind> = Extract<NonNullable<Step["spec"]>, { $case: K }>["value"];

function findUnknown(value: unknown, path: string): string | undefined {
  if (value === null || typeof value !== "object" || value instanceof Uint8Array) return undefined;
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      const found = findUnknown(item, `${path}[${index}]`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  for (const [key, field] of Object.entries(value)) {
    if (key === "_unknownFields") {
      const numbers = Object.keys((field as Record<string, unknown> | undefined) ?? {});
      if (numbers.length > 0) return `${path} has an unknown field (tag ${numbers.join(", ")})`;
      continue;
    }
    if (key === "spec" && field === undefined) return `${path}.spec is not set, or of a kind this agent does not know`;
    const found = findUnknown(field, `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
