/**
 * What agents do with plans: accepted by the agent's own rules, each step for as long as the simulation says, failed where a script says so, confirmed where
 * the plan asks for it (I4), and told in reports as real agents tell it.
 */
import { type Acceptance, acceptPlan, beatFlags } from "@drover/agent";
import { jittered, type Random } from "@drover/lifecycle";
import type { Plan, Step, StepKind } from "@drover/proto";
import type { StepFailure } from "../sim-port.ts";
import type { AgentColumns } from "./agent-columns.ts";
import {
  condition,
  type Ending,
  eventOf,
  type EventBody,
  type Pair,
  planFinished,
  stepCondition,
  stepEnded,
  stepStarted,
} from "./agent-events.ts";
import type { Outboxes } from "./outboxes.ts";

/** All that an agent of today can do. */
export const STEP_KINDS: readonly StepKind[] = [
  "sysctl",
  "containerd",
  "images",
  "binaries",
  "kernelModules",
  "swap",
  "kubelet",
  "kubeadm",
];
/** A step that finds nothing to do. */
const UNCHANGED_MS = 20;
const RETRY_BASE_MS = 10_000;
const RETRY_MAX_MS = 600_000;

interface Work {
  readonly plan: Plan;
  /** The step under way; steps.length: it waits for its confirmation. */
  at: number;
  startedMs: number;
  tries: number;
  /** Monotonic; what was tried is undone then. */
  undoAtMs: number;
  /** It failed and is tried again at the next timer. */
  isWaiting: boolean;
}

export interface EnforcementParts {
  readonly columns: AgentColumns;
  readonly outboxes: Outboxes;
  readonly random: Random;
  readonly stepMs: number;
  readonly nowMs: () => number;
  /** Unix milliseconds of the agent's own clock. */
  readonly clockOf: (agent: number) => number;
  /** Arms the agent's step timer; Infinity: none. */
  readonly arm: (agent: number, atMs: number) => void;
  /** A session that is opened now is wanted: only that proves that one can be (I4). */
  readonly wantNewSession: (agent: number) => void;
  /** The generation, flags or digest changed. */
  readonly changed: (agent: number) => void;
  readonly ended: (agent: number, outcome: Ending["outcome"]) => void;
}

export class Enforcement {
  readonly #parts: EnforcementParts;
  readonly #work = new Map<number, Work>();
  readonly #failures = new Map<number, StepFailure>();
  /** What is enforced, by revision: its steps as text, by id. */
  readonly #stepsOf = new Map<string, ReadonlyMap<string, string>>();
  readonly #enforced: string[] = [];

  constructor(parts: EnforcementParts) {
    this.#parts = parts;
  }

  get count(): number {
    return this.#work.size;
  }

  /** Nothing more can be said in a session until this is over. */
  isWorking(agent: number): boolean {
    const work = this.#work.get(agent);
    return work !== undefined && !work.isWaiting && work.at < work.plan.steps.length;
  }

  /** What a session opened now is to ask confirmed. */
  unconfirmed(agent: number): Pair | undefined {
    const work = this.#work.get(agent);
    return work !== undefined && work.at >= work.plan.steps.length ? work.plan : undefined;
  }

  fail(agent: number, failure: StepFailure | undefined): void {
    if (failure === undefined) this.#failures.delete(agent);
    else this.#failures.set(agent, failure);
  }

  /** The fleet was found as it is. */
  foundEnforced(agent: number, plan: Plan): void {
    const { columns } = this.#parts;
    columns.planEpoch[agent] = columns.enforcedEpoch[agent] = plan.planEpoch;
    columns.generation[agent] = columns.enforcedGeneration[agent] = plan.generation;
    this.#remember(agent, plan);
    columns.flags[agent] = beatFlags.inSync;
    columns.stateDigest[agent] = digestOf(plan.generation, 0);
  }

  accept(agent: number, bytes: Uint8Array): Acceptance {
    const { columns, clockOf, outboxes } = this.#parts;
    const [planEpoch, generation] = [columns.planEpoch[agent]!, columns.generation[agent]!];
    const acceptance = acceptPlan(bytes, {
      nodeId: columns.nodeIds[agent]!,
      supportedKinds: STEP_KINDS,
      // Of the plan that is held only the pair is kept: offered once more, it is taken for the same.
      accepted: generation === 0 ? undefined : { ...HELD, planEpoch, generation, plan: Buffer.from(bytes).toString("base64") },
      rejectedGeneration: columns.rejectedGeneration[agent]!,
      nowMs: clockOf(agent),
    });
    if (acceptance.outcome !== "accepted") return acceptance;
    const { plan } = acceptance;
    columns.planEpoch[agent] = plan.planEpoch;
    columns.generation[agent] = plan.generation;
    this.#parts.changed(agent);
    outboxes.record(agent, [this.#event(agent, plan, { $case: "planAccepted", value: { revision: plan.revision } })]);
    this.#begin(agent, plan, 0);
    return acceptance;
  }

  cancel(agent: number, pair: Pair): void {
    const work = this.#work.get(agent);
    if (work === undefined || work.plan.generation !== pair.generation || work.plan.planEpoch !== pair.planEpoch) return;
    const step = work.plan.steps[work.at]?.id ?? "";
    this.#end(agent, work, { outcome: "failed", reason: "Cancelled", message: "the coordinator cancelled the plan", step });
  }

  confirm(agent: number, pair: Pair): void {
    const work = this.#work.get(agent);
    if (work === undefined || work.at < work.plan.steps.length) return;
    if (work.plan.generation === pair.generation && work.plan.planEpoch === pair.planEpoch) this.#end(agent, work, { outcome: "enforced" });
  }

  /** The agent's step timer. */
  due(agent: number): void {
    const work = this.#work.get(agent);
    if (work === undefined) return;
    const { nowMs } = this.#parts;
    if (work.isWaiting) return this.#begin(agent, work.plan, work.tries);
    const step = work.plan.steps[work.at];
    if (step === undefined) {
      const message = `not confirmed within ${work.plan.confirmDeadlineMs} ms of the last change; undone and read back: simulated`;
      this.#parts.columns.rejectedGeneration[agent] = work.plan.generation;
      return this.#end(agent, work, { outcome: "rejected", reason: "NotConfirmed", message, step: "" });
    }
    this.#endStep(agent, work, step, nowMs() - work.startedMs);
  }

  /** The machine died, or its agent was started again: what was under way is done over. */
  restart(agent: number): void {
    const work = this.#work.get(agent);
    if (work !== undefined) this.#begin(agent, work.plan, work.tries);
  }

  forget(agent: number): void {
    this.#work.delete(agent);
    this.#parts.arm(agent, Infinity);
  }

  /** All that is known, told again: its reports are lost. */
  tellLost(agent: number): void {
    const { columns, outboxes, clockOf } = this.#parts;
    const atMs = clockOf(agent);
    const pair = { planEpoch: columns.planEpoch[agent]!, generation: columns.generation[agent]! };
    const revision = this.#enforced[agent];
    const events = [eventOf(atMs, pair, condition("InSync", columns.flags[agent] === beatFlags.inSync, "Enforced", atMs))];
    if (revision !== undefined && columns.enforcedGeneration[agent] === pair.generation) {
      events.unshift(eventOf(atMs, pair, planFinished({ revision }, { outcome: "enforced" })));
    }
    outboxes.record(agent, events);
  }

  #begin(agent: number, plan: Plan, tries: number): void {
    const { columns } = this.#parts;
    const work: Work = { plan, at: 0, startedMs: 0, tries, undoAtMs: Infinity, isWaiting: false };
    this.#work.set(agent, work);
    columns.flags[agent] = beatFlags.applying;
    columns.stateDigest[agent] = digestOf(plan.generation, 1);
    this.#startStep(agent, work);
  }

  #startStep(agent: number, work: Work): void {
    const { columns, outboxes, random, nowMs, arm } = this.#parts;
    const step = work.plan.steps[work.at];
    if (step === undefined) return this.#afterSteps(agent, work);
    work.startedMs = nowMs();
    const isChange = this.#isChange(agent, step);
    if (isChange) outboxes.note(agent, [this.#event(agent, work.plan, stepStarted(step))]);
    const stepMs = columns.stepMs[agent] === 0 ? this.#parts.stepMs : columns.stepMs[agent]!;
    arm(agent, work.startedMs + jittered(random, isChange ? stepMs : Math.min(UNCHANGED_MS, stepMs), 0.2));
  }

  #endStep(agent: number, work: Work, step: Step, durationMs: number): void {
    const { columns, outboxes, clockOf } = this.#parts;
    const failure = this.#failures.get(agent);
    const kind = step.spec?.$case;
    if (failure !== undefined && (failure.kind === undefined || failure.kind === kind)) {
      const { reason, message } = failure;
      outboxes.record(agent, [this.#event(agent, work.plan, stepEnded(step, { outcome: "failed", reason, message }, durationMs))]);
      columns.flags[agent] = beatFlags.failed;
      return this.#end(agent, work, { outcome: "failed", reason, message, step: step.id });
    }
    const outcome = this.#isChange(agent, step) ? "changed" : "unchanged";
    const told = stepCondition(kind ?? "", clockOf(agent));
    const result = this.#event(agent, work.plan, stepEnded(step, { outcome }, durationMs));
    outboxes.record(agent, told === undefined ? [result] : [this.#event(agent, work.plan, told), result]);
    work.at += 1;
    this.#startStep(agent, work);
  }

  #afterSteps(agent: number, work: Work): void {
    const { plan } = work;
    const isChanged = plan.steps.some((step) => this.#isChange(agent, step));
    if (plan.confirmDeadlineMs === 0 || !isChanged) return this.#end(agent, work, { outcome: "enforced" });
    work.undoAtMs = this.#parts.nowMs() + plan.confirmDeadlineMs;
    this.#parts.arm(agent, work.undoAtMs);
    this.#parts.wantNewSession(agent);
  }

  #end(agent: number, work: Work, ending: Ending): void {
    const { columns, outboxes, clockOf, random, nowMs, arm, changed, ended } = this.#parts;
    const { plan } = work;
    const atMs = clockOf(agent);
    const isEnforced = ending.outcome === "enforced";
    const inSync = condition("InSync", isEnforced, isEnforced ? "Enforced" : ending.reason, atMs, isEnforced ? "" : ending.message);
    const events = [inSync, planFinished(plan, ending)];
    // What was read back, once more after the change: a rollout believes nothing older.
    if (isEnforced)
      events.push(inSync, ...plan.steps.map(({ spec }) => stepCondition(spec?.$case ?? "", atMs)).filter((told) => told !== undefined));
    if (isEnforced) {
      columns.enforcedEpoch[agent] = plan.planEpoch;
      columns.enforcedGeneration[agent] = plan.generation;
      this.#remember(agent, plan);
      columns.flags[agent] = beatFlags.inSync;
    } else columns.flags[agent] = beatFlags.failed;
    columns.stateDigest[agent] = digestOf(plan.generation, isEnforced ? 0 : 2);
    const isTriedAgain = ending.outcome === "failed" && ending.reason !== "Cancelled";
    if (isTriedAgain) {
      work.isWaiting = true;
      work.tries += 1;
      arm(agent, nowMs() + jittered(random, Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** work.tries), 0.3));
    } else this.forget(agent);
    outboxes.record(
      agent,
      events.map((body) => this.#event(agent, plan, body)),
    );
    changed(agent);
    ended(agent, ending.outcome);
  }

  /** Whether what is enforced says otherwise. */
  #isChange(agent: number, step: Step): boolean {
    const enforced = this.#stepsOf.get(this.#enforced[agent] ?? "");
    return enforced?.get(step.id) !== textOf(step);
  }

  #remember(agent: number, plan: Plan): void {
    if (!this.#stepsOf.has(plan.revision)) this.#stepsOf.set(plan.revision, new Map(plan.steps.map((step) => [step.id, textOf(step)])));
    this.#enforced[agent] = plan.revision;
  }

  #event(agent: number, pair: Pair, body: EventBody) {
    return eventOf(this.#parts.clockOf(agent), pair, body);
  }
}

const HELD = { done: [], touched: [], running: undefined, ending: undefined, failures: 0 } as const;

/** Of a step without what is each node's own. */
function textOf({ spec }: Step): string {
  if (spec?.$case === "kubeadm") return JSON.stringify({ ...spec.value, nodeName: "" });
  return JSON.stringify(spec);
}

function digestOf(generation: number, state: number): number {
  return (Math.imul(generation, 2_654_435_761) ^ Math.imul(state + 1, 40_503)) >>> 0;
}
