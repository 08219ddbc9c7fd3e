/** kernelModules: refused until its step is there. */
import type { Step } from "../step.ts";

export const kernelModulesStep: Step<"kernelModules"> = {
  kind: "kernelModules",
  emptySpec: { names: [] },
  observe: () => Promise.resolve(undefined),
  refuse: () => ({ reason: "Unsupported", message: "this agent cannot do kernelModules yet" }),
  diff: () => [],
  conditions: () => [],
  apply: () => Promise.resolve(),
};
