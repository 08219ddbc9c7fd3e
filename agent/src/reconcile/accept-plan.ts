/** Whether a plan may run on this node: I1 and I2, before anything is written or touched. Pure. */
import { decodePlan, type Plan, type StepKind } from "@drover/proto";
import { type AcceptedPlan, comparePairs, type Pair } from "./journal-state.ts";
import { findInvalidProbe } from "./probe-rules.ts";

/** As in PlanRefused. */
export type RefusalReason = "UnknownField" | "OldGeneration" | "WrongNode" | "Expired" | "Unsupported" | "InvalidPlan" | "EpochConflict";

export type Acceptance =
  | { readonly outcome: "accepted"; readonly plan: Plan }
  /** The pair is known, with the same bytes: nothing to do that is not being done. */
  | { readonly outcome: "known"; readonly plan: Plan }
  | {
      readonly outcome: "refused";
      readonly reason: RefusalReason;
      readonly message: string;
      /** Of the plan, when it could be read and is for this node. */
      readonly pair: Pair | undefined;
    };

export interface AcceptanceRules {
  readonly nodeId: string;
  readonly supportedKinds: readonly StepKind[];
  readonly accepted: AcceptedPlan | undefined;
  readonly rejectedGeneration: number;
  /** Unix milliseconds. */
  readonly nowMs: number;
}

const MAX_PLAN_BYTES = 2 ** 20;
const MAX_STEPS = 64;
/** Nobody makes this many changes between two plans: a jump this far would only lock the node against all later ones. */
const MAX_JUMP = 1_000_000;
/** Texts of a hostile plan come back in the refusal. */
const MAX_MESSAGE_LENGTH = 1000;
const STEP_ID = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** @param bytes SignedPlan.plan, exactly as received */
export function acceptPlan(bytes: Uint8Array, rules: AcceptanceRules): Acceptance {
  if (bytes.length > MAX_PLAN_BYTES) {
    return refused("InvalidPlan", `plan has ${bytes.length} bytes, more than ${MAX_PLAN_BYTES}`);
  }
  const decoding = decodePlan(bytes);
  if (!decoding.ok) return refused(decoding.reason, decoding.message);
  const { plan } = decoding;
  if (plan.nodeId !== rules.nodeId) return refused("WrongNode", `plan is for node ${JSON.stringify(plan.nodeId)}, this is ${rules.nodeId}`);
  const invalid = findInvalid(plan);
  if (invalid !== undefined) return refused("InvalidPlan", invalid, plan);
  return inOrder(plan, bytes, rules) ?? supported(plan, rules) ?? { outcome: "accepted", plan };
}

function inOrder(plan: Plan, bytes: Uint8Array, { accepted, rejectedGeneration, nowMs }: AcceptanceRules): Acceptance | undefined {
  const order = accepted === undefined ? 1 : comparePairs(plan, accepted);
  if (accepted !== undefined) {
    const held = `(${accepted.planEpoch}, ${accepted.generation})`;
    if (order < 0) {
      return refused(
        "OldGeneration",
        `(epoch, generation) (${plan.planEpoch}, ${plan.generation}) is below ${held}, which was accepted`,
        plan,
      );
    }
    if (order === 0) {
      if (accepted.plan !== Buffer.from(bytes).toString("base64")) {
        return refused("EpochConflict", `another plan was accepted as (epoch, generation) ${held}`, plan);
      }
      if (plan.generation === rejectedGeneration) return refused("OldGeneration", `generation ${plan.generation} was undone here`, plan);
      return { outcome: "known", plan };
    }
    const isJump = plan.planEpoch - accepted.planEpoch > MAX_JUMP || plan.generation - accepted.generation > MAX_JUMP;
    if (isJump) return refused("InvalidPlan", `(${plan.planEpoch}, ${plan.generation}) is too far above ${held}`, plan);
  }
  if (plan.expiresAtMs !== 0 && plan.expiresAtMs <= nowMs) {
    return refused(
      "Expired",
      `plan expired ${Math.round((nowMs - plan.expiresAtMs) / 1000)} s before it came here for the first time`,
      plan,
    );
  }
  return undefined;
}

function supported(plan: Plan, { supportedKinds }: AcceptanceRules): Acceptance | undefined {
  const unsupported = plan.steps.find((step) => step.spec !== undefined && !supportedKinds.includes(step.spec.$case));
  if (unsupported === undefined) return undefined;
  return refused("Unsupported", `this agent has no step kind ${unsupported.spec?.$case} (step ${unsupported.id})`, plan);
}

function findInvalid(plan: Plan): string | undefined {
  if (plan.generation < 1) return "plan.generation is not set";
  if (plan.steps.length > MAX_STEPS) return `plan has ${plan.steps.length} steps, more than ${MAX_STEPS}`;
  if (Math.abs(plan.expiresAtMs) > 8.64e15) return "plan.expires_at_ms is no time";
  const ids = new Set<string>();
  const kinds = new Set<string>();
  for (const step of plan.steps) {
    if (!STEP_ID.test(step.id)) return `${JSON.stringify(step.id)} is no step id: lower-case letters, digits and dashes`;
    if (ids.has(step.id)) return `two steps have the id ${step.id}`;
    ids.add(step.id);
    const kind = step.spec?.$case ?? "";
    // A kind owns its file and its memory: two specs of it would undo each other for ever.
    if (kinds.has(kind)) return `two steps are of kind ${kind}`;
    kinds.add(kind);
  }
  return findInvalidProbe(plan.probes);
}

function refused(reason: RefusalReason, message: string, pair?: Pair): Acceptance {
  const told = message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH - 3)}...` : message;
  return { outcome: "refused", reason, message: told, pair: pair && { planEpoch: pair.planEpoch, generation: pair.generation } };
}
