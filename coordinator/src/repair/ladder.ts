/**
 * What comes next in one Repair: evidence, drain, rung, check, backoff, the next rung, the end. Pure; every answer follows from the Repair object and what is
 * known of its node, so that a coordinator that starts in the middle goes on as if it had been there.
 */
import type { Repair, Rung } from "@drover/api";
import { healthSince } from "./evidence-of-health.ts";
import type { RepairDecision, RepairNode, RepairSet, RepairWaitReason } from "./model.ts";
import { type Hindrance, isUnasked, type Places } from "./places.ts";
import { type Attempt, lastAttempt, millis, needsPlace, requestIdOf } from "./standing.ts";

const MINUTE_MS = 60_000;
const FIRST_BACKOFF_MS = MINUTE_MS;
const LONGEST_BACKOFF_MS = 15 * MINUTE_MS;
/** For a node's answer to a rung; an image of many gigabytes takes its time. */
const ANSWER_MS = 30 * MINUTE_MS;
const REBOOT_ANSWER_MS = 5 * MINUTE_MS;
const RESTART_CHECK_MS = 5 * MINUTE_MS;
const LONG_CHECK_MS = 10 * MINUTE_MS;
/** A place is not held for longer than this by a repair that cannot go on. */
const GIVE_UP_MS = 60 * MINUTE_MS;
export const CORDON_MS = GIVE_UP_MS;
const DEFAULT_DRAIN_MS = 10 * MINUTE_MS;

const DISRUPTIVE: ReadonlySet<Rung> = new Set(["Rejoin", "Reboot"]);

export interface LadderContext {
  readonly places: Places;
  readonly set: RepairSet | undefined;
  readonly now: number;
}

type Next = readonly RepairDecision[];

/** @param repair in flight, of this node */
export function nextOf(repair: Repair, node: RepairNode, context: LadderContext): Next {
  const attempt = lastAttempt(repair)!;
  const step = new Step(repair, node, attempt, context);
  if (repair.spec.cancelled === true && !step.mayBeAtWork())
    return [step.end("Cancelled", "Cancelled", "cancelled; no further rung begins")];
  const hold = step.lostPlace();
  if (hold !== undefined) return [hold];
  if (attempt.outcome !== "Running") return step.afterAttempt();
  if (attempt.evidence === undefined) return [step.gather()];
  if (attempt.rung === "HandOver") {
    return [
      step.end("HandedOver", "HandedOver", `${tried(repair)}a person must look at ${node.name}: drover get repair ${repair.metadata.name}`),
    ];
  }
  if (attempt.askedAt === undefined) return step.beforeRung();
  return attempt.doneAt === undefined ? step.duringRung(millis(attempt.askedAt)!) : step.afterRung(millis(attempt.doneAt)!);
}

class Step {
  readonly #repair: Repair;
  readonly #node: RepairNode;
  readonly #attempt: Attempt;
  readonly #context: LadderContext;
  readonly #of: { readonly repair: string; readonly nodeId: string; readonly name: string };

  constructor(repair: Repair, node: RepairNode, attempt: Attempt, context: LadderContext) {
    this.#repair = repair;
    this.#node = node;
    this.#attempt = attempt;
    this.#context = context;
    this.#of = { repair: repair.metadata.name, nodeId: node.nodeId, name: node.name };
  }

  mayBeAtWork(): boolean {
    return this.#attempt.outcome === "Running" && this.#attempt.askedAt !== undefined && this.#attempt.doneAt === undefined;
  }

  /** Somebody deleted the record by which rollouts know that the node is ours. */
  lostPlace(): RepairDecision | undefined {
    if (!needsPlace(this.#repair) || this.#node.maintenance !== undefined) return undefined;
    return { type: "hold", ...this.#of, wanted: "cordon", deadlineAtMs: this.#context.now + CORDON_MS };
  }

  gather(): RepairDecision {
    return { type: "gather", ...this.#of, rung: this.#attempt.rung, evidence: requestIdOf(this.#repair) };
  }

  beforeRung(): Next {
    const hindered = this.#hindrance();
    if (hindered !== undefined) return this.#waitOrGiveUp(hindered, millis(this.#attempt.startedAt)!);
    const { rung } = this.#attempt;
    if (rung === "Rejoin" && this.#node.controlPlaneScope !== undefined) {
      return [this.#skip("a control plane is not reset and joined again by itself: its member of etcd would be lost")];
    }
    if ((rung === "Reapply" || rung === "Rejoin") && this.#node.plan === undefined) return [this.#skip("nothing was ever decided for it")];
    if (rung === "Rejoin" && this.#node.plan?.isJoining !== true) return [this.#skip("its plan joins no cluster")];
    if (this.#mustDrain()) return this.#drain();
    return [{ type: "ask", ...this.#of, rung, bootId: this.#node.bootId }];
  }

  duringRung(askedMs: number): Next {
    const { now } = this.#context;
    const { rung, bootId } = this.#attempt;
    if (rung === "Reboot" && bootId !== undefined && bootId !== "" && this.#node.bootId !== "" && this.#node.bootId !== bootId) {
      return [{ type: "done", ...this.#of, message: "the machine has booted anew" }];
    }
    const untilMs = askedMs + (rung === "Reboot" ? REBOOT_ANSWER_MS : ANSWER_MS);
    if (now >= untilMs) return [this.#judge("Failed", "the node did not answer in time whether it was done")];
    const run: RepairDecision = { type: "run", ...this.#of, rung, requestId: requestIdOf(this.#repair), units: this.#units() };
    return [run, this.#wait("RungRunning", `${rung} is under way`), { type: "askAgain", atMs: untilMs }];
  }

  afterRung(doneMs: number): Next {
    const { now } = this.#context;
    const health = healthSince(this.#node, this.#attempt, now);
    if (health.isRight)
      return [this.end("Succeeded", "Helped", `${this.#attempt.rung} helped: ${this.#node.name} is healthy and as decided`)];
    const untilMs = doneMs + this.#checkMs();
    if (now >= untilMs) return [this.#judge("DidNotHelp", `did not help: ${health.message}`)];
    return [this.#wait("Checking", health.message), { type: "askAgain", atMs: Math.min(untilMs, now + 10_000) }];
  }

  afterAttempt(): Next {
    const { now } = this.#context;
    const { status, spec } = this.#repair;
    const isLate = this.#attempt.outcome === "DidNotHelp" || isUnasked(spec.requestedBy);
    if (isLate && this.#attempt.doneAt !== undefined && healthSince(this.#node, this.#attempt, now).isRight) {
      return [this.end("Succeeded", "Recovered", `${this.#node.name} is healthy and as decided after all`)];
    }
    const index = status!.rung + 1;
    const rung = spec.rungs[index];
    if (rung === undefined)
      return [this.end("Failed", "RungsExhausted", `${tried(this.#repair)}no rung is left; a person must look at it`)];
    const nextAtMs = millis(status!.nextAt) ?? now;
    if (now < nextAtMs) {
      return [this.#wait("Backoff", `${this.#attempt.rung}: ${this.#attempt.message}; then ${rung}`), { type: "askAgain", atMs: nextAtMs }];
    }
    const hindered = rung === "HandOver" ? undefined : this.#hindrance();
    if (hindered !== undefined) return this.#waitOrGiveUp(hindered, nextAtMs);
    return [{ type: "climb", ...this.#of, rung, index }];
  }

  end(phase: "Succeeded" | "HandedOver" | "Failed" | "Cancelled", reason: string, message: string): RepairDecision {
    return { type: "end", ...this.#of, phase, reason, message };
  }

  /** What keeps the next rung from being done to this node now, though the repair has its place. */
  #hindrance(): Hindrance | undefined {
    const { places, set } = this.#context;
    const { disruption, verdict, verdictReason, maintenance } = this.#node;
    if (disruption !== undefined) return { reason: "CellDisrupted", message: disruption };
    if (verdict === "unknown") {
      return { reason: "NodeUnknown", message: `its health is unknown (${verdictReason}), and nothing is done to such a node` };
    }
    if (maintenance?.owner === "Rollout" || (maintenance?.owner === "Repair" && maintenance.ownerName !== this.#of.repair)) {
      return { reason: "UnderMaintenance", message: `${maintenance.owner} ${maintenance.ownerName} has it` };
    }
    const massive = isUnasked(this.#repair.spec.requestedBy) && set !== undefined ? places.whyTooMany(set) : undefined;
    return massive ?? places.whyNotQuorum(this.#node, set);
  }

  #waitOrGiveUp({ reason, message }: Hindrance, sinceMs: number): Next {
    const untilMs = sinceMs + GIVE_UP_MS;
    if (this.#context.now >= untilMs) {
      return [this.end("Failed", reason, `could not go on for ${GIVE_UP_MS / MINUTE_MS} minutes: ${message}`)];
    }
    return [this.#wait(reason, message), { type: "askAgain", atMs: untilMs }];
  }

  /** Workloads leave where they can: a kubelet that does not answer lets none go. */
  #mustDrain(): boolean {
    const { kubernetes, maintenance } = this.#node;
    if (!DISRUPTIVE.has(this.#attempt.rung) || kubernetes?.ready !== "True" || maintenance === undefined) return false;
    if (this.#context.set?.strategy.drain.from === "never") return false;
    return maintenance.phase !== "drained";
  }

  #drain(): Next {
    const { owner, ownerName, wanted, phase, message } = this.#node.maintenance!;
    const deadlineMs = this.#context.set?.strategy.drain.deadlineMs ?? DEFAULT_DRAIN_MS;
    if (owner === "Operator" && wanted !== "drain") {
      const why = `${ownerName} keeps it cordoned, and ${this.#attempt.rung} drains first: drover node drain ${this.#of.name}, or uncordon it`;
      return this.#waitOrGiveUp({ reason: "UnderMaintenance", message: why }, millis(this.#attempt.startedAt)!);
    }
    const isEarlier = phase === "timedOut" && this.#context.now < millis(this.#attempt.startedAt)! + deadlineMs;
    if (owner === "Repair" && (wanted !== "drain" || isEarlier)) {
      return [{ type: "hold", ...this.#of, wanted: "drain", deadlineAtMs: this.#context.now + deadlineMs }];
    }
    if (phase === "timedOut") return [this.#judge("Failed", `it could not be drained in time: ${message}`)];
    const untilMs = millis(this.#attempt.startedAt)! + GIVE_UP_MS;
    if (this.#context.now >= untilMs) return [this.#judge("Failed", `it was not drained: ${message}`)];
    return [this.#wait("Draining", message === "" ? "workloads leave it first" : message), { type: "askAgain", atMs: untilMs }];
  }

  #judge(outcome: "DidNotHelp" | "Failed", message: string): Judgement {
    return judgement(this.#repair, outcome, message, this.#context.now);
  }

  /** The rung is none for this node: nothing was done that would have to take effect. */
  #skip(message: string): RepairDecision {
    const judgement = this.#judge("Failed", message);
    return judgement.nextAtMs === undefined ? judgement : { ...judgement, nextAtMs: this.#context.now };
  }

  #wait(reason: RepairWaitReason, message: string): RepairDecision {
    return { type: "wait", ...this.#of, reason, message };
  }

  #units(): readonly string[] {
    return this.#attempt.rung === "RestartUnits" ? (this.#repair.spec.units ?? []) : [];
  }

  #checkMs(): number {
    switch (this.#attempt.rung) {
      case "RestartUnits":
        return RESTART_CHECK_MS;
      case "Reapply":
      case "Rejoin":
        return Math.max(RESTART_CHECK_MS, this.#context.set?.strategy.progressDeadlineMs ?? LONG_CHECK_MS);
      case "Repull":
      case "Reboot":
      case "HandOver":
        return LONG_CHECK_MS;
    }
  }
}

/** The node said so itself, or could not be asked. */
export function rungFailed(repair: Repair, message: string, now: number): Judgement {
  return judgement(repair, "Failed", message, now);
}

type Judgement = Extract<RepairDecision, { type: "judge" }>;

function judgement({ metadata, spec, status }: Repair, outcome: Judgement["outcome"], message: string, now: number): Judgement {
  const hasNext = status!.rung + 1 < spec.rungs.length;
  const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (status!.attempts.length - 1));
  const of = { repair: metadata.name, nodeId: spec.node, name: spec.nodeName };
  return { type: "judge", ...of, outcome, message, nextAtMs: hasNext ? now + backoffMs : undefined };
}

function tried({ status }: Repair): string {
  const ended = (status?.attempts ?? []).filter(({ outcome }) => outcome === "DidNotHelp" || outcome === "Failed");
  return ended.length === 0 ? "" : `${ended.map(({ rung }) => rung).join(", ")} did not help; `;
}
