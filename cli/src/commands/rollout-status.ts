/** `drover rollout status NAME`: watches until it has ended; 0 complete, 3 stopped, 7 timeout. */
import type { Rollout } from "@drover/api";
import { WatchEventType } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
import { rolloutLines } from "../output/rollout-lines.ts";
import { decodeObject, type Session } from "../session.ts";
import { followProgress } from "./follow-progress.ts";

export interface RolloutStatusOptions {
  readonly isWatching: boolean;
  readonly timeoutMs: number;
  /** Also what the nodes stream about their steps. */
  readonly hasProgress: boolean;
}

export async function rolloutStatus(session: Session, name: string, options: RolloutStatusOptions): Promise<void> {
  const timeout = AbortSignal.timeout(options.timeoutMs);
  const done = new AbortController();
  const signal = AbortSignal.any([session.signal, timeout, done.signal]);
  const progress = options.hasProgress && options.isWatching ? followProgress(session, "", signal) : Promise.resolve();
  let last: Rollout | undefined;
  const shown = new Set<string>();
  let head = "";
  try {
    const request = { kind: "Rollout", labelSelector: "", name, fromRevision: 0 };
    for await (const event of session.connect().stream("watchObjects", request, signal)) {
      if (event.type === WatchEventType.WATCH_EVENT_TYPE_DELETED) throw new CliError(exitCodes.notFound, `rollout/${name} was deleted`);
      if (event.type === WatchEventType.WATCH_EVENT_TYPE_BOOKMARK) {
        if (last === undefined) throw new CliError(exitCodes.notFound, `there is no rollout called ${name}`, "drover get rollouts");
        if (!options.isWatching) break;
        continue;
      }
      last = decodeObject(event.object) as Rollout;
      const { head: first, details: waiting } = rolloutLines(last);
      // Only what is news: a head that moved, a reason to wait that was not told since.
      if (first !== head) session.print(first);
      for (const line of waiting) if (!shown.has(line)) session.print(line);
      head = first;
      shown.clear();
      for (const line of waiting) shown.add(line);
      if (hasEnded(last)) break;
    }
  } finally {
    done.abort();
    await progress;
  }
  if (last === undefined || session.signal.aborted) return;
  if (last.status !== undefined && last.status.phase !== "Complete" && hasEnded(last)) {
    throw new CliError(
      exitCodes.degraded,
      `rollout/${name} is ${last.status.phase}: ${last.status.message || last.status.reason}`,
      `drover describe rollout ${name}`,
    );
  }
  if (options.isWatching && !hasEnded(last))
    throw new CliError(
      exitCodes.timeout,
      `rollout/${name} had not ended after ${options.timeoutMs / 1000} s`,
      `drover describe rollout ${name}`,
    );
}

function hasEnded(rollout: Rollout): boolean {
  const phase = rollout.status?.phase;
  return phase === "Complete" || phase === "Stopped" || phase === "Aborted" || phase === "Superseded";
}

export function statusText(rollout: Rollout): string {
  const { head, details } = rolloutLines(rollout);
  return [head, ...details].join("\n");
}
