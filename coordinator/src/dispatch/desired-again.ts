/** What a node has been told already, under a new generation: for a node that is to be brought to it once more. Pure. */
import { upperBoundImpact } from "@drover/api";
import { type Impact, Plan, type Step } from "@drover/proto";
import type { DesiredNode } from "../records.ts";

export interface DesiredAgainInput {
  readonly before: DesiredNode;
  /** The coordinator's. */
  readonly planEpoch: number;
  /** Reset and join the cluster once more. nodeName: as the machine calls itself now; empty: not known, as before. undefined: as it is. */
  readonly rejoin: { readonly count: number; readonly nodeName: string } | undefined;
  readonly nowMs: number;
}

/** The same revision, steps and rollout; the pair rises strictly (I2). What is on the node is not known, so that the bound is that of all its steps. */
export function desiredAgain({ before, planEpoch, rejoin, nowMs }: DesiredAgainInput): DesiredNode {
  const told = Plan.decode(Buffer.from(before.plan, "base64"));
  const steps = rejoin === undefined ? told.steps : told.steps.map((step) => rejoining(step, rejoin));
  const pair = { planEpoch: Math.max(planEpoch, before.planEpoch), generation: before.generation + 1 };
  const bounds = [told.impactBound, upperBoundImpact(undefined, steps), upperBoundImpact(told.steps, steps)];
  const plan: Plan = {
    ...told,
    ...pair,
    steps,
    issuedAtMs: nowMs,
    expiresAtMs: nowMs + (told.expiresAtMs - told.issuedAtMs),
    impactBound: Math.max(...bounds) as Impact,
    // A join asks for its own proofs, and takes longer than a confirmation may.
    confirmDeadlineMs: rejoin === undefined ? told.confirmDeadlineMs : 0,
  };
  const { nodeId, revision, nodeSet, rollout } = before;
  const counter = rejoin?.count ?? before.rejoin;
  return {
    nodeId,
    ...pair,
    revision,
    nodeSet,
    rollout,
    plan: Buffer.from(Plan.encode(plan).finish()).toString("base64"),
    decidedAtMs: nowMs,
    ...(counter === undefined ? {} : { rejoin: counter }),
  };
}

function rejoining(step: Step, { count, nodeName }: { readonly count: number; readonly nodeName: string }): Step {
  if (step.spec?.$case !== "kubeadm") return step;
  const value = { ...step.spec.value, rejoin: count, nodeName: nodeName === "" ? step.spec.value.nodeName : nodeName };
  return { ...step, spec: { $case: "kubeadm", value } };
}
