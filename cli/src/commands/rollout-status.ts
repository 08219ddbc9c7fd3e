/** `drover rollout status NAME`: watches until it has ended; 0 complete, 3 stopped, 7 timeout. */
import type { Rollout } from "@drover/api";
import { WatchEventType } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
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
      const [first = "", ...waiting] = statusLines(last);
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
  if (last.status?.phase === "Stopped" || last.status?.phase === "Superseded") {
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
  return phase === "Complete" || phase === "Stopped" || phase === "Superseded";
}

export function statusText(rollout: Rollout): string {
  return statusLines(rollout).join("\n");
}

/** The one reason of those listed that is no waiting. */
const IN_CHANGE = "InChange";

/** One line, and one for each reason to wait with its nodes. */
function statusLines(rollout: Rollout): string[] {
  const { status } = rollout;
  const { name } = rollout.metadata;
  if (status === undefined) return [`rollout/${name} has not been looked at yet`];
  // While it goes on, who waits for what says more than the summary of it.
  const message = status.message === "" || status.phase === "Progressing" ? "" : ` (${status.message})`;
  const lines = [
    `rollout/${name} ${status.phase}: ${status.updated} of ${status.total} updated, ${status.inChange} in change, ${status.failed} failed${message}`,
  ];
  const groups = Map.groupBy(status.waiting, ({ reason, message }) => `${reason}: ${message}`);
  for (const alike of groups.values()) {
    const [{ reason, message } = { reason: "", message: "" }] = alike;
    const nodes = shortList(alike.map(({ node }) => node));
    if (reason === IN_CHANGE) lines.push(`  in change: ${nodes} (${message})`);
    else lines.push(`  waiting: ${nodes} (${message === "" ? reason : `${reason}: ${message}`})`);
  }
  return lines;
}

function shortList(names: readonly string[]): string {
  return names.length <= 5 ? names.join(", ") : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;
}
