/** Live progress of steps as nodes stream it: a line for each phase; bytes that move share one line, on a terminal. */
import { type Progress, ProgressPhase, type WatchProgressResponse } from "@drover/proto";
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
  try {
    for await (const answer of session.connect().stream("watchProgress", request, signal)) {
      if (answer.progress === undefined) continue;
      const line = progressLine(answer.nodeName, answer.progress);
      if (areMovingBytes(answer.progress)) session.showLive(line);
      else session.print(line);
    }
  } finally {
    session.showLive("");
  }
}

function areMovingBytes({ phase, totalBytes }: Progress): boolean {
  return phase === ProgressPhase.PROGRESS_PHASE_RUNNING && totalBytes > 0;
}

export function progressLine(nodeName: WatchProgressResponse["nodeName"], progress: Progress): string {
  const { step, item, phase, doneBytes, totalBytes, message } = progress;
  const words = [item, phases[phase] ?? ""].filter((word) => word !== "").join(" ");
  const percent = Math.floor((100 * doneBytes) / totalBytes);
  // Who moves bytes and says nothing of them has them said here.
  const isUntold = message === "" && phase === ProgressPhase.PROGRESS_PHASE_RUNNING;
  const bytes = isUntold ? `${bytesText(doneBytes)} of ${bytesText(totalBytes)}, ${percent} %` : `${percent} % of the step`;
  const share = totalBytes > 0 ? ` (${bytes})` : "";
  const isItem = item !== "" && phase !== ProgressPhase.PROGRESS_PHASE_STARTED;
  return `  ${nodeName}  ${step.padEnd(10)} ${words}${message === "" ? "" : `, ${message}`}${isItem ? share : ""}`;
}
