/** What left the enforced state: impact live is repaired, anything higher is only reported (I3). News only. */
import { type Change, Impact } from "@drover/proto";
import type { StepCondition } from "../steps/step.ts";
import type { BoundStep, EngineParts } from "./engine-parts.ts";
import { drift, type EventBody } from "./events.ts";
import { runStep, type StepRun, type StepSurroundings } from "./run-step.ts";

export interface DriftScan {
  readonly parts: EngineParts;
  /** Step id to what was last reported about its open drift. */
  readonly openDrift: Map<string, string>;
  readonly around: (each: BoundStep) => StepSurroundings;
  readonly report: (body: EventBody) => Promise<void>;
  readonly tell: (owner: string, conditions: readonly StepCondition[]) => Promise<void>;
  /** A newer plan was accepted and is not enforced: what it says about InSync stands. */
  readonly isNewerOpen: boolean;
  readonly signal: AbortSignal;
}

export async function scanForDrift(steps: readonly BoundStep[], scan: DriftScan): Promise<void> {
  const failures: string[] = [];
  for (const each of steps) {
    if (scan.signal.aborted) return;
    const run = await scanStep(each, scan);
    if (run.outcome === "failed" && run.reason !== "ImpactExceeded") failures.push(`${each.id}: ${run.reason}: ${run.message}`);
  }
  if (!scan.isNewerOpen) await scan.tell("node", [inSync([...scan.openDrift.keys()], failures)]);
}

async function scanStep(each: BoundStep, scan: DriftScan): Promise<StepRun> {
  const { failpoint, stepDeadlineMs, log } = scan.parts;
  let repairing: readonly Change[] | undefined;
  const run = await runStep(
    {
      ...each,
      impactBound: Impact.IMPACT_LIVE,
      deadlineMs: stepDeadlineMs[each.step.kind],
      unfinished: undefined,
      intend: async (changes) => {
        repairing = changes;
        log.warn({ step: each.id, changes }, "repairing drift");
        failpoint("drift.repair.before");
      },
    },
    scan.around(each),
  );
  if (repairing !== undefined) failpoint("drift.repair.after");
  if (run.conditions !== undefined) await scan.tell(each.step.kind, run.conditions);
  await reportRun(each.id, run, scan);
  failpoint("report.drift.after");
  return run;
}

async function reportRun(id: string, run: StepRun, { openDrift, report }: DriftScan): Promise<void> {
  if (run.outcome === "changed") {
    openDrift.delete(id);
    await report(drift(id, run.changes, true));
  } else if (run.outcome === "unchanged") {
    if (openDrift.delete(id)) await report(drift(id, [], true));
  } else if (run.changes.length > 0) {
    const seen = JSON.stringify([run.reason, run.changes.map(({ path, from, to }) => [path, from, to])]);
    if (openDrift.get(id) === seen) return;
    openDrift.set(id, seen);
    await report(drift(id, run.changes, false));
  }
}

function inSync(drifted: readonly string[], failures: readonly string[]): StepCondition {
  if (drifted.length > 0) return { type: "InSync", status: "False", reason: "Drifted", message: drifted.join(", ") };
  if (failures.length > 0)
    return { type: "InSync", status: "Unknown", reason: "ObserveFailed", message: failures.join("; ").slice(0, 1000) };
  return { type: "InSync", status: "True", reason: "Enforced", message: "" };
}
