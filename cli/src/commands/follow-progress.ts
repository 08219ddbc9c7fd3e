/** Live step progress of nodes, a line per change; what nodes stream while they work. */
import { ProgressPhase, type WatchProgressResponse } from "@drover/proto";
import { bytesText } from "../output/table.ts";
import type { Session } from "../session.ts";

const phases: Readonly<Record<number, string>> = {
  [ProgressPhase.PROGRESS_PHASE_STARTED]: "started",
  [ProgressPhase.PROGRESS_PHASE_RUNNING]: "",
  [ProgressPhase.PROGRESS_PHASE_DONE]: "done",
  [ProgressPhase.PROGRESS_PHASE_FAILED]: "failed",
  [ProgressPhase.PROGRESS_PHASE_UNCHANGED]: "in sync already",
};

/** Prints until the signal aborts. */
export async function followProgress(session: Session, labelSelector: string, signal: AbortSignal): Promise<void> {
  const request = { labelSelector };
  for await (const answer of session.connect().stream("watchProgress", request, signal)) {
    session.print(progressLine(answer));
  }
}

export function progressLine({ nodeName, progress }: WatchProgressResponse): string {
  if (progress === undefined) return `  ${nodeName}`;
  const share =
    progress.totalBytes > 0
      ? ` ${bytesText(progress.doneBytes)} of ${bytesText(progress.totalBytes)} (${Math.floor((100 * progress.doneBytes) / progress.totalBytes)} %)`
      : "";
  const words = [progress.item, phases[progress.phase] ?? "", progress.message].filter((word) => word !== "");
  return `  ${nodeName}  ${progress.step.padEnd(10)} ${words.join(" ")}${share}`;
}
