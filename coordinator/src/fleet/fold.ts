/**
 * One report batch folded into what is known of its node; pure.
 * Order per outbox is decided here: seqs are taken without a gap, and everything else is answered with what was taken so far.
 */
import { ConditionStatus, type Event, PlanOutcome, type ReportBatch, StepOutcome } from "@drover/proto";
import type { ObservedCondition, ObservedDrift, ObservedNode, ObservedStep } from "./fleet.ts";

/** The part of an ObservedNode that reports make; the rest comes from heartbeats and verdicts. */
export type ReportedNode = Omit<
  ObservedNode,
  "nodeId" | "beatGeneration" | "beatFlags" | "lastBeatAtMs" | "lastBeatBrokerMs" | "lastReportUnixMs" | "health" | "factsVersion"
>;

export const nothingReported: ReportedNode = {
  planEpoch: 0,
  observedGeneration: 0,
  outcome: "none",
  reason: "",
  message: "",
  failedStep: "",
  enforcedRevision: "",
  enforcedAtUnixMs: 0,
  steps: [],
  conditions: [],
  drift: [],
  facts: undefined,
  images: [],
};

/** How far one outbox was taken. */
export interface OutboxCursor {
  /** Hex. */
  readonly epoch: string;
  /** Everything up to and with it is taken; 0: nothing yet. */
  readonly seq: number;
  /** Digests of the last seqs taken, the newest last: what a clone is known by. */
  readonly recentDigests: readonly number[];
}

/** The newest outbox first. */
export type OutboxCursors = readonly OutboxCursor[];

export type FoldOutcome =
  /** The next one in order. */
  | "folded"
  /** Taken before; the same bytes as far as remembered. */
  | "duplicate"
  /** Seqs before it are missing. */
  | "gap"
  /** Of an outbox that another one has followed: taken, so that nothing is lost, but not shown; two outboxes at once are two machines. */
  | "oldOutbox"
  /** A known seq with other bytes: two machines share an identity. Not acked. */
  | "clone";

export interface Folded {
  readonly outcome: FoldOutcome;
  readonly reported: ReportedNode;
  readonly cursors: OutboxCursors;
  /** The cumulative ack to send; undefined: none. */
  readonly ack: { readonly epoch: string; readonly seq: number } | undefined;
}

const REMEMBERED_DIGESTS = 64;
const REMEMBERED_OUTBOXES = 4;
const MAX_DRIFT = 16;
/** More than any agent has: what a hostile one makes up must not grow in memory and in every snapshot. */
const MAX_STEPS = 64;
const MAX_CONDITIONS = 64;

/**
 * @param epoch the batch's outbox epoch in hex
 * @param digest of the batch's bytes, 48 bits
 * @param loggedAtMs coordinator's Unix milliseconds
 */
export function fold(
  reported: ReportedNode,
  cursors: OutboxCursors,
  batch: ReportBatch,
  epoch: string,
  digest: number,
  loggedAtMs: number,
): Folded {
  const cursor = cursors.find((known) => known.epoch === epoch) ?? { epoch, seq: 0, recentDigests: [] };
  const same = (outcome: FoldOutcome): Folded => ({ outcome, reported, cursors, ack: { epoch, seq: cursor.seq } });
  if (batch.seq <= cursor.seq) {
    const remembered = cursor.recentDigests.at(batch.seq - cursor.seq - 1);
    const isClone = remembered !== undefined && remembered !== digest;
    return isClone ? { outcome: "clone", reported, cursors, ack: undefined } : same("duplicate");
  }
  if (batch.seq > cursor.seq + 1) return same("gap");

  const advanced: OutboxCursor = {
    epoch,
    seq: batch.seq,
    recentDigests: [...cursor.recentDigests.slice(1 - REMEMBERED_DIGESTS), digest],
  };
  const ack = { epoch, seq: batch.seq };
  const newest = cursors[0];
  if (newest !== undefined && newest.epoch !== epoch && cursor.seq > 0) {
    const kept = cursors.map((known) => (known.epoch === epoch ? advanced : known));
    return { outcome: "oldOutbox", reported, cursors: kept, ack };
  }
  const older = cursors.filter((known) => known.epoch !== epoch).slice(0, REMEMBERED_OUTBOXES - 1);
  const folded = batch.events.reduce((node, event) => foldEvent(node, event, loggedAtMs), reported);
  return { outcome: "folded", reported: folded, cursors: [advanced, ...older], ack };
}

/**
 * One event. Those of an older pair than the node's last say nothing about the present, and are passed over.
 * @param loggedAtMs coordinator's Unix milliseconds
 */
export function foldEvent(node: ReportedNode, event: Event, loggedAtMs: number): ReportedNode {
  const { body } = event;
  if (body === undefined) return node;
  const order = comparePairs(event, node);
  switch (body.$case) {
    case "planAccepted":
      if (order < 0) return node;
      return { ...atPair(node, event), outcome: "accepted", reason: "", message: "", failedStep: "", enforcedAtUnixMs: 0 };
    case "planRefused":
      // A repeated offer of what the node has is refused as old; that does not change how it ended.
      if (order < 0 || (order === 0 && node.outcome !== "none" && node.outcome !== "refused")) return node;
      return { ...atPair(node, event), outcome: "refused", reason: body.value.reason, message: body.value.message, failedStep: "" };
    case "planFinished": {
      if (order < 0) return node;
      const outcome = PLAN_OUTCOMES[body.value.outcome];
      if (outcome === undefined) return node;
      const { reason, message, failedStep, revision } = body.value;
      const ended: ReportedNode = { ...atPair(node, event), outcome, reason, message, failedStep };
      if (outcome !== "enforced") return { ...ended, enforcedAtUnixMs: 0 };
      // Told once more, because reports were lost: that is no new change.
      if (order === 0 && node.outcome === "enforced") return { ...ended, drift: [] };
      const conditions = ended.conditions.map((condition) => ({ ...condition, isSinceEnforced: false }));
      return { ...ended, enforcedRevision: revision, enforcedAtUnixMs: loggedAtMs, conditions, drift: [] };
    }
    case "stepStarted": {
      if (order < 0) return node;
      const { step, changes } = body.value;
      const empty = { reason: "", message: "", outputTail: "", outputDigest: "", outputBytes: 0 };
      return withStep(atPair(node, event), { step, outcome: "running", changes, ...empty, atUnixMs: event.atMs });
    }
    case "stepResult": {
      const outcome = STEP_OUTCOMES[body.value.outcome];
      if (order < 0 || outcome === undefined) return node;
      const { step, reason, message, outputTail, outputDigest, outputBytes } = body.value;
      const started = node.steps.find((known) => known.step === step && order === 0);
      const changes = body.value.changes.length > 0 ? body.value.changes : (started?.changes ?? []);
      const result: ObservedStep = {
        step,
        outcome,
        reason,
        message,
        changes,
        outputTail,
        outputDigest: outputDigest.toString("hex"),
        outputBytes,
        atUnixMs: event.atMs,
      };
      const next = withStep(atPair(node, event), result);
      return outcome === "failed" ? next : { ...next, drift: next.drift.filter((drift) => drift.step !== step || drift.isRepaired) };
    }
    case "condition": {
      const { type, reason, message, lastTransitionMs } = body.value;
      const status = CONDITION_STATUSES[body.value.status] ?? "Unknown";
      const told = { type, status, reason, message, lastTransitionUnixMs: lastTransitionMs, generation: event.generation };
      return withCondition(node, { ...told, isSinceEnforced: order === 0 && node.outcome === "enforced" });
    }
    case "drift": {
      // Found before a newer plan was enforced, which looked itself.
      if (order < 0 && node.outcome === "enforced") return node;
      const { step, changes, repaired } = body.value;
      const before = node.drift.find((drift) => drift.step === step && !drift.isRepaired);
      const found: ObservedDrift = {
        step,
        changes,
        isRepaired: repaired,
        atUnixMs: event.atMs,
        sinceUnixMs: before?.sinceUnixMs ?? loggedAtMs,
      };
      const paths = new Set(changes.map((change) => change.path));
      // The newest word on a path counts: what was found before on the same paths is replaced, also by its repair.
      // A step that was found in sync has nothing open.
      const isGone = repaired && changes.length === 0;
      const isOther = (drift: ObservedDrift): boolean => drift.step !== step || drift.changes.some((change) => !paths.has(change.path));
      const others = node.drift.filter((drift) => (isGone ? drift.step !== step || drift.isRepaired : isOther(drift)));
      if (isGone) return { ...node, drift: others };
      return { ...node, drift: [...others, found].slice(-MAX_DRIFT) };
    }
    case "gap": {
      const message = `${body.value.droppedEvents} events were dropped on the node because its outbox was full`;
      const condition = { type: "ReportsComplete", status: "False", reason: "OutboxFull", message } as const;
      return withCondition(node, {
        ...condition,
        lastTransitionUnixMs: event.atMs,
        generation: event.generation,
        isSinceEnforced: false,
      });
    }
    case "facts":
      return { ...node, facts: body.value };
    case "images":
      return { ...node, images: body.value.images };
    case "agentStarted":
      return node;
  }
}

const PLAN_OUTCOMES: Readonly<Record<number, ReportedNode["outcome"]>> = {
  [PlanOutcome.PLAN_OUTCOME_ENFORCED]: "enforced",
  [PlanOutcome.PLAN_OUTCOME_REJECTED]: "rejected",
  [PlanOutcome.PLAN_OUTCOME_FAILED]: "failed",
};

const STEP_OUTCOMES: Readonly<Record<number, ObservedStep["outcome"]>> = {
  [StepOutcome.STEP_OUTCOME_UNCHANGED]: "unchanged",
  [StepOutcome.STEP_OUTCOME_CHANGED]: "changed",
  [StepOutcome.STEP_OUTCOME_FAILED]: "failed",
};

const CONDITION_STATUSES: Readonly<Record<number, ObservedCondition["status"]>> = {
  [ConditionStatus.CONDITION_STATUS_TRUE]: "True",
  [ConditionStatus.CONDITION_STATUS_FALSE]: "False",
};

/** Negative: the event is of an older (plan epoch, generation) than the node's. */
function comparePairs(event: Event, node: ReportedNode): number {
  return event.planEpoch - node.planEpoch || event.generation - node.observedGeneration;
}

/** The node at the event's pair; steps are those of one pair only. */
function atPair(node: ReportedNode, event: Event): ReportedNode {
  if (comparePairs(event, node) === 0) return node;
  const fresh = { outcome: "accepted", reason: "", message: "", failedStep: "", steps: [], enforcedAtUnixMs: 0 } as const;
  return { ...node, ...fresh, planEpoch: event.planEpoch, observedGeneration: event.generation };
}

function withStep(node: ReportedNode, step: ObservedStep): ReportedNode {
  const isKnown = node.steps.some((known) => known.step === step.step);
  return {
    ...node,
    steps: isKnown ? node.steps.map((known) => (known.step === step.step ? step : known)) : [...node.steps.slice(1 - MAX_STEPS), step],
  };
}

function withCondition(node: ReportedNode, condition: ObservedCondition): ReportedNode {
  const isKnown = node.conditions.some((known) => known.type === condition.type);
  const conditions = isKnown
    ? node.conditions.map((known) => (known.type === condition.type ? condition : known))
    : [...node.conditions.slice(1 - MAX_CONDITIONS), condition];
  return { ...node, conditions };
}
