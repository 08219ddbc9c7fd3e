/** What a dry run found on one node, step by step. */
import { type Change, Impact, type StepDiff } from "@drover/proto";

const impacts: Readonly<Record<number, string>> = {
  [Impact.IMPACT_LIVE]: "live",
  [Impact.IMPACT_RESTART]: "restart",
  [Impact.IMPACT_DRAIN]: "drain",
  [Impact.IMPACT_REBOOT]: "reboot",
};

export function changeLine(change: Pick<Change, "path" | "from" | "to" | "note"> & { readonly impact: string }): string {
  const from = change.from === "" ? "(absent)" : change.from;
  const to = change.to === "" ? "(removed)" : change.to;
  return `${change.path}: ${from} -> ${to}${change.impact === "" ? "" : ` [${change.impact}]`}${change.note === "" ? "" : ` (${change.note})`}`;
}

export function printStepDiffs(steps: readonly StepDiff[], reason: string, message: string): string {
  const lines: string[] = [];
  if (reason !== "") lines.push(`  could not be asked: ${reason}${message === "" ? "" : `: ${message}`}`);
  for (const step of steps) {
    if (step.reason !== "") lines.push(`  ${step.step}: ${step.reason}: ${step.message}`);
    else if (step.changes.length === 0) lines.push(`  ${step.step}: in sync`);
    else {
      lines.push(`  ${step.step}: ${step.changes.length} change${step.changes.length === 1 ? "" : "s"}`);
      lines.push(...step.changes.map((change) => `    ${changeLine({ ...change, impact: impacts[change.impact] ?? "" })}`));
    }
  }
  return lines.join("\n");
}
