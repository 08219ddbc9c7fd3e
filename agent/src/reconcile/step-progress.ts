/** What is shown live of a step as a whole; what it does in between it shows itself. Pure. */
import { ProgressPhase } from "@drover/proto";
import type { StepProgress } from "../steps/step.ts";
import type { StepRun } from "./run-step.ts";

const PHASES = {
  unchanged: ProgressPhase.PROGRESS_PHASE_UNCHANGED,
  changed: ProgressPhase.PROGRESS_PHASE_DONE,
  failed: ProgressPhase.PROGRESS_PHASE_FAILED,
} as const satisfies Record<StepRun["outcome"], ProgressPhase>;

export const stepBegun: StepProgress = {
  item: "",
  phase: ProgressPhase.PROGRESS_PHASE_STARTED,
  doneBytes: 0,
  totalBytes: 0,
  message: "",
};

export function stepOver({ outcome, changes, reason, message }: Pick<StepRun, "outcome" | "changes" | "reason" | "message">): StepProgress {
  return { ...stepBegun, phase: PHASES[outcome], message: outcome === "failed" ? `${reason}: ${message}` : countOf(changes.length) };
}

function countOf(changes: number): string {
  if (changes === 0) return "";
  return changes === 1 ? "1 change" : `${changes} changes`;
}
