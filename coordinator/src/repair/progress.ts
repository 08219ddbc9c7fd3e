/** What a decision makes of a Repair's status. Pure. */
import type { Rung } from "@drover/api";
import { timestamp } from "../resources/node-status.ts";
import type { RepairDecision } from "./model.ts";
import type { Attempt, RepairStatus } from "./standing.ts";

export const notBegun: RepairStatus = { phase: "Pending", reason: "NotBegun", message: "", rung: -1, attempts: [] };

export function begun(rung: Rung, now: number): RepairStatus {
  return climbed(notBegun, rung, 0, now);
}

/** @param evidence its id */
export function withEvidence(status: RepairStatus, evidence: string): RepairStatus {
  const rung = status.attempts.at(-1)?.rung ?? "";
  return withAttempt({ ...status, phase: "Running", reason: "EvidenceGathered", message: `before ${rung}` }, { evidence });
}

/** @param generation that Reapply or Rejoin gave the node with this */
export function asked(status: RepairStatus, bootId: string, generation: number | undefined, now: number): RepairStatus {
  const rung = status.attempts.at(-1)?.rung ?? "";
  const at = timestamp(now);
  // What is decided is done as far as we are concerned: whether it is enforced is what the check looks at.
  const decided = generation === undefined ? {} : { generation, doneAt: at };
  const phase = generation === undefined ? "Running" : "Checking";
  return withAttempt({ ...status, phase, reason: "RungRunning", message: `${rung} is under way` }, { askedAt: at, bootId, ...decided });
}

export function done(status: RepairStatus, message: string, now: number): RepairStatus {
  return withAttempt({ ...status, phase: "Checking", reason: "Checking", message }, { doneAt: timestamp(now), message });
}

export function judged(status: RepairStatus, decision: Extract<RepairDecision, { type: "judge" }>, now: number): RepairStatus {
  const { outcome, message, nextAtMs } = decision;
  const next = { ...status, phase: "Running", reason: "Backoff", message } as const;
  return withAttempt(nextAtMs === undefined ? next : { ...next, nextAt: timestamp(nextAtMs) }, {
    outcome,
    message,
    endedAt: timestamp(now),
  });
}

export function climbed(before: RepairStatus, rung: Rung, index: number, now: number): RepairStatus {
  const status = withoutNext(before);
  const attempt: Attempt = { rung, startedAt: timestamp(now), outcome: "Running", message: "" };
  const message = `gathering evidence before ${rung}`;
  return { ...status, phase: "Running", reason: "GatheringEvidence", message, rung: index, attempts: [...status.attempts, attempt] };
}

export function ended(before: RepairStatus, decision: Extract<RepairDecision, { type: "end" }>, now: number): RepairStatus {
  const { phase, reason, message } = decision;
  const status = withoutNext(before);
  const finished: RepairStatus = { ...status, phase, reason, message, finishedAt: timestamp(now) };
  const last = status.attempts.at(-1);
  if (last === undefined || (last.outcome !== "Running" && phase !== "Succeeded")) return finished;
  // A person who was called is what that rung is there for.
  const outcome = phase === "Succeeded" || phase === "HandedOver" ? "Helped" : "DidNotHelp";
  return withAttempt(finished, { outcome, message, endedAt: timestamp(now) });
}

/** Why it does not go on, for people; a repair that runs keeps its phase. */
export function waiting(status: RepairStatus, { reason, message }: { readonly reason: string; readonly message: string }): RepairStatus {
  return { ...status, reason, message };
}

function withoutNext(status: RepairStatus): RepairStatus {
  const copy = { ...status };
  delete copy.nextAt;
  return copy;
}

function withAttempt(status: RepairStatus, change: Partial<Attempt>): RepairStatus {
  const last = status.attempts.at(-1);
  return last === undefined ? status : { ...status, attempts: [...status.attempts.slice(0, -1), { ...last, ...change }] };
}
