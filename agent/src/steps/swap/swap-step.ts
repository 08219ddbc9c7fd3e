/** swap: refused until its step is there. */
import type { Step } from "../step.ts";

export const swapStep: Step<"swap"> = {
  kind: "swap",
  emptySpec: { mode: 0 },
  observe: () => Promise.resolve(undefined),
  refuse: () => ({ reason: "Unsupported", message: "this agent cannot do swap yet" }),
  diff: () => [],
  conditions: () => [],
  apply: () => Promise.resolve(),
};
