import { describe, expect, it } from "vitest";
import type { ObservedCondition } from "../fleet/fleet.ts";
import { type GateInput, gateOf } from "./gate.ts";

const condition = (type: string, status: ObservedCondition["status"], isSinceEnforced = true): ObservedCondition => ({
  type,
  status,
  reason: "Because",
  message: "so",
  lastTransitionUnixMs: 0,
  generation: 2,
  isSinceEnforced,
});
const gate = (input: Partial<GateInput>): string => {
  const { state, message } = gateOf({
    conditionTypes: [],
    isEnforced: true,
    conditions: [],
    kubernetes: undefined,
    enforcedAtMs: 1_000,
    ...input,
  });
  return message === "" ? state : `${state}: ${message}`;
};
const kubernetes = (ready: "True" | "False" | "Unknown" | undefined, readAtMs: number | undefined, sinceMs?: number) => ({
  ready,
  message: "KubeletReady",
  readAtMs,
  sinceMs,
});

describe("a gate", () => {
  it("is not passed before the change is enforced, whatever was told before", () => {
    expect(gate({ isEnforced: false, conditionTypes: ["A"], conditions: [condition("A", "True")] })).toContain("pending");
    expect(gate({})).toBe("passed");
  });

  it("believes conditions that were told after the change only", () => {
    const conditionTypes = ["Containerd", "Probe-kubelet"];
    expect(gate({ conditionTypes, conditions: [condition("Containerd", "True")] })).toBe(
      "pending: condition Probe-kubelet was not told since the change",
    );
    expect(gate({ conditionTypes, conditions: [condition("Containerd", "True"), condition("Probe-kubelet", "True", false)] })).toBe(
      "pending: condition Probe-kubelet was not told since the change",
    );
    expect(gate({ conditionTypes, conditions: [condition("Containerd", "True"), condition("Probe-kubelet", "True")] })).toBe("passed");
    // An old False is no failure of this change, either.
    expect(gate({ conditionTypes: ["A"], conditions: [condition("A", "False", false)] })).toContain("pending");
    expect(gate({ conditionTypes: ["A", "B"], conditions: [condition("B", "False")] })).toBe("failed: condition B is False: Because: so");
  });

  it.each([
    ["True", 1_000, undefined, "passed"],
    ["True", undefined, 1_500, "passed"],
    ["True", 999, 500, "pending"],
    ["False", 1_000, undefined, "failed"],
    ["False", 999, undefined, "pending"],
    ["Unknown", 2_000, undefined, "pending"],
    [undefined, 2_000, undefined, "pending"],
    ["True", undefined, undefined, "pending"],
  ] as const)("believes Ready=%s of the cluster when read at %s or changed at %s: %s", (ready, readAtMs, sinceMs, state) => {
    expect(gate({ kubernetes: kubernetes(ready, readAtMs, sinceMs) })).toMatch(new RegExp(`^${state}`));
  });

  it("fails at once by its cluster's word though a condition is still waited for", () => {
    expect(gate({ conditionTypes: ["A"], kubernetes: kubernetes("False", 1_000) })).toContain("failed: Ready is False");
  });
});
