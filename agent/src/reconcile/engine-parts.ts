/** What the engine is made of, and the table of steps it is given. */
import { stepIdOf } from "@drover/api";
import type { Clock, Log } from "@drover/lifecycle";
import type { Plan, SpecOf, StepKind } from "@drover/proto";
import type { Host } from "../host/host.ts";
import type { StateDirectory } from "../ports.ts";
import type { Credentials, Step } from "../steps/step.ts";
import type { Failpoint } from "./failpoints.ts";
import type { Journal } from "./journal.ts";
import type { OutputSink, Reporter, ShowProgress } from "./reconcile-ports.ts";

export type StepTable = { readonly [K in StepKind]: Step<K> };

export interface EngineParts {
  readonly nodeId: string;
  readonly host: Host;
  readonly steps: StepTable;
  readonly state: StateDirectory;
  readonly journal: Journal;
  readonly reporter: Reporter;
  readonly output: OutputSink;
  readonly showProgress: ShowProgress;
  readonly clock: Clock;
  readonly log: Log;
  readonly failpoint: Failpoint;
  readonly credentials: Credentials;
  /** Nobody is there to confirm what a plan changes: it counts as confirmed. Default false. */
  readonly isOffline?: boolean;
  /** How long one step of that kind may take. */
  readonly stepDeadlineMs: Readonly<Record<StepKind, number>>;
}

/** Pulling a lock of images over a slow line takes hours and is resumed; the others are done in minutes or hang. */
export const defaultStepDeadlineMs: Readonly<Record<StepKind, number>> = {
  binaries: 3_600_000,
  kernelModules: 120_000,
  sysctl: 120_000,
  // What was swapped out is read back.
  swap: 1_800_000,
  containerd: 600_000,
  images: 4 * 3_600_000,
  kubelet: 300_000,
  kubeadm: 1_800_000,
};

/** A step of a plan beside the code that does it. */
export interface BoundStep<K extends StepKind = StepKind> {
  readonly id: string;
  readonly step: Step<K>;
  readonly spec: SpecOf<K>;
}

/** The plan's steps in their order; of a plan that was accepted, so each kind is in the table. */
export function boundSteps(plan: Plan, steps: StepTable): readonly BoundStep[] {
  return plan.steps.flatMap(({ id, spec }) => (spec === undefined ? [] : [bound(id, steps[spec.$case], spec.value)]));
}

/** What puts back a kind that the plan does not name. */
export function removalOf(kind: StepKind, plan: Plan, steps: StepTable): BoundStep {
  const id = stepIdOf(kind);
  const isTaken = plan.steps.some((step) => step.id === id);
  return bound(isTaken ? `${id}-removal` : id, steps[kind], steps[kind].emptySpec);
}

// One oneof case binds spec and step; the compiler cannot follow that through the table's index.
function bound(id: string, step: StepTable[StepKind], spec: SpecOf<StepKind>): BoundStep {
  return { id, step, spec } as unknown as BoundStep;
}
