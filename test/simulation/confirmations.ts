/** I4 as a checker: a change that can cut its node off stays only when the coordinator says so, is undone in time, and is not tried again then. */
import type { Plan } from "@drover/proto";
import { type Checker, show } from "./invariants.ts";
import type { Pair } from "./observations.ts";

interface Trial {
  readonly pair: Pair;
  /** Since when nothing more was tried. */
  readonly sinceMs: number;
  /** Of the machine, in which it was tried. */
  readonly boot: number;
}

interface Known {
  readonly plans: Map<string, Plan>;
  /** By pair: what the coordinator has confirmed, and what ended otherwise. */
  readonly confirmed: Set<string>;
  readonly rejected: Set<string>;
  readonly enforced: Set<string>;
  trial: Trial | undefined;
  /** undefined: its agent does not run. */
  runsSinceMs: number | undefined;
  boot: number;
  hasBeenLate: boolean;
}

/** To look, to put everything back and to read it again: a runtime is restarted for it, a disk is slow, and a try that fails waits a moment. */
const UNDO_WITHIN_MS = 60_000;

/** @param confirmWithinMs that plans give */
export function confirmations(nowMs: () => number, confirmWithinMs: number): Checker {
  const nodes = new Map<string, Known>();
  const knownOf = (node: string): Known => {
    let known = nodes.get(node);
    if (known === undefined) {
      known = {
        plans: new Map(),
        confirmed: new Set(),
        rejected: new Set(),
        enforced: new Set(),
        trial: undefined,
        runsSinceMs: undefined,
        boot: 1,
        hasBeenLate: false,
      };
      nodes.set(node, known);
    }
    return known;
  };
  return {
    name: "I4",
    see(observation) {
      switch (observation.type) {
        case "accepted":
          knownOf(observation.node).plans.set(show(observation), observation.plan);
          return undefined;
        case "confirmed":
          knownOf(observation.node).confirmed.add(show(observation));
          return undefined;
        case "intent": {
          const { node, kind } = observation;
          const { plans, rejected, trial, confirmed } = knownOf(node);
          const pair = show(observation);
          if (rejected.has(pair)) return `${node} begins ${kind} of ${pair} again, which was undone`;
          const isToConfirm = kind === "containerd" && (plans.get(pair)?.confirmDeadlineMs ?? 0) > 0;
          if (!isToConfirm || trial !== undefined || confirmed.has(pair)) return undefined;
          return `${node} begins ${kind} of ${pair} and has kept nothing to undo it with`;
        }
        case "ended": {
          const known = knownOf(observation.node);
          if (observation.outcome === "enforced") known.enforced.add(show(observation));
          else if (observation.outcome.startsWith("rejected")) known.rejected.add(show(observation));
          return undefined;
        }
        case "tried": {
          const known = knownOf(observation.node);
          const { planEpoch, generation, phase } = observation;
          const sinceMs = phase === "trying" || known.trial === undefined ? nowMs() : known.trial.sinceMs;
          // The same plan goes on in another boot: that does not make it one that this boot has tried.
          const boot = known.trial !== undefined && show(known.trial.pair) === show(observation) ? known.trial.boot : known.boot;
          known.trial = { pair: { planEpoch, generation }, sinceMs, boot };
          return undefined;
        }
        case "untried": {
          const { trial, plans, confirmed, rejected, enforced, boot } = knownOf(observation.node);
          knownOf(observation.node).trial = undefined;
          if (trial === undefined) return undefined;
          const pair = show(trial.pair);
          if (trial.boot !== boot && !rejected.has(pair) && !enforced.has(pair))
            return `${observation.node} keeps ${pair}, which was tried in another boot`;
          const isForNobodyToConfirm = plans.get(pair)?.confirmDeadlineMs === 0;
          if (isForNobodyToConfirm || confirmed.has(pair) || rejected.has(pair) || enforced.has(pair)) return undefined;
          return `${observation.node} keeps ${pair}, which nobody has confirmed`;
        }
        case "life":
          Object.assign(knownOf(observation.node), { runsSinceMs: observation.isRunning ? nowMs() : undefined, boot: observation.boot });
          return undefined;
        case "acknowledged":
        case "decided":
        case "done":
        case "drifted":
        case "effect":
        case "finished":
        case "freed":
        case "logged":
        case "refused":
        case "repair":
        case "rollout":
        case "zone":
          return undefined;
      }
    },
    look() {
      for (const [node, known] of nodes) {
        const { trial, runsSinceMs, hasBeenLate } = known;
        if (trial === undefined || runsSinceMs === undefined || hasBeenLate) continue;
        const dueMs = Math.max(trial.sinceMs + confirmWithinMs, runsSinceMs);
        if (nowMs() < dueMs + UNDO_WITHIN_MS) continue;
        known.hasBeenLate = true;
        return `${node} has not undone ${show(trial.pair)}, which was due ${Math.round((nowMs() - dueMs) / 1000)} s ago`;
      }
      return undefined;
    },
  };
}
