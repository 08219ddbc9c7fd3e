/** What a dry run prints. */
import type { StepDiff } from "@drover/proto";

/** One block per step that differs or could not be observed; empty when nothing differs. */
export function formatDiff(steps: readonly StepDiff[]): string {
  const blocks = steps.flatMap((step) => {
    if (step.reason !== "") return [`${step.step}: ${step.reason}: ${step.message}`];
    return step.changes.map(
      (change) =>
        `${step.step}: ${change.path}\n  - ${shown(change.from)}\n  + ${shown(change.to)}${change.note === "" ? "" : `\n    ${change.note}`}`,
    );
  });
  return blocks.length === 0 ? "" : `${blocks.join("\n")}\n`;
}

function shown(value: string): string {
  return value === "" ? "(none)" : value.replaceAll("\n", "\n    ");
}

/** As kubectl: 0 nothing differs, 1 something does, 2 something could not be compared. */
export function diffExitCode(steps: readonly StepDiff[]): 0 | 1 | 2 {
  if (steps.some((step) => step.reason !== "")) return 2;
  return steps.some((step) => step.changes.length > 0) ? 1 : 0;
}
