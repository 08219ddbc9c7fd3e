import { Impact, Plan } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toldPlan } from "./told-plan.ts";

const base64 = (plan: Plan): string => Buffer.from(Plan.encode(plan).finish()).toString("base64");
const step = (key: string, value: string) => ({ id: "sysctl", spec: { $case: "sysctl" as const, value: { values: { [key]: value } } } });

describe("what a decided plan says", () => {
  it("is what decoding all of it gives, whatever comes before", () => {
    const plans = fc.record({
      nodeId: fc.string({ maxLength: 300 }),
      planEpoch: fc.integer({ min: 0, max: 2 ** 40 }),
      generation: fc.integer({ min: 0, max: 2 ** 40 }),
      revision: fc.string({ maxLength: 80 }),
      issuedAtMs: fc.integer({ min: -5, max: 2 ** 45 }),
      expiresAtMs: fc.integer({ min: 0, max: 2 ** 45 }),
      impactBound: fc.constantFrom(Impact.IMPACT_UNSPECIFIED, Impact.IMPACT_LIVE, Impact.IMPACT_DRAIN),
      steps: fc.array(
        fc.tuple(fc.string(), fc.string()).map(([key, value]) => step(key, value)),
        { maxLength: 2 },
      ),
      nodeSet: fc.string(),
      rollout: fc.string(),
      confirmDeadlineMs: fc.nat(),
      probes: fc.array(fc.record({ name: fc.string() }), { maxLength: 2 }),
    });
    fc.assert(
      fc.property(plans, (fields) => {
        const plan = Plan.decode(Plan.encode(Plan.fromPartial(fields)).finish());
        const { steps, probes, impactBound, confirmDeadlineMs } = plan;
        expect(toldPlan({ plan: base64(plan) })).toEqual({ steps, probes, impactBound, confirmDeadlineMs });
      }),
      { numRuns: 300 },
    );
  });

  it("is one object for nodes that are told the same, and another where a step differs", () => {
    const of = (nodeId: string, generation: number, value: string) =>
      toldPlan({ plan: base64(Plan.fromPartial({ nodeId, generation, steps: [step("vm.swappiness", value)], rollout: "web-1" })) });
    expect(of("a", 3, "10")).toBe(of("b", 400, "10"));
    expect(of("a", 3, "10")).not.toEqual(of("a", 3, "11"));
  });
});
