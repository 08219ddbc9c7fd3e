/** What people call the step of a kind: in plans, reports, `drover logs --step`. */
import type { StepKind } from "@drover/proto";

/** "kernelModules" is "kernel-modules". */
export function stepIdOf(kind: StepKind): string {
  return kind.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
