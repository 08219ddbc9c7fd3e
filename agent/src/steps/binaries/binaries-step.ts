/** binaries: refused until its step is there. */
import type { Step } from "../step.ts";

export const binariesStep: Step<"binaries"> = {
  kind: "binaries",
  emptySpec: { binaries: [] },
  observe: () => Promise.resolve(undefined),
  refuse: () => ({ reason: "Unsupported", message: "this agent cannot do binaries yet" }),
  diff: () => [],
  conditions: () => [],
  apply: () => Promise.resolve(),
};
