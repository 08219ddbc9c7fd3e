/** What an agent leaves out of its reports because a later event says it too, against what the coordinator makes of them. */
import { ConditionStatus, Event, PlanOutcome } from "@drover/proto";
import fc from "fast-check";
import { expect, it } from "vitest";
import { supersededBy } from "../../agent/src/report/report-batches.ts";
import { foldEvent, nothingReported, type ReportedNode } from "../../coordinator/src/fleet/fold.ts";

const condition = fc
  .record({
    type: fc.constantFrom("Containerd", "Sysctl", "Disk"),
    status: fc.constantFrom(ConditionStatus.CONDITION_STATUS_TRUE, ConditionStatus.CONDITION_STATUS_FALSE),
    reason: fc.constantFrom("On", "Off"),
  })
  .map((value) => ({ $case: "condition" as const, value: { ...value, message: "", lastTransitionMs: 1 } }));
const images = fc
  .array(fc.constantFrom("a", "b"), { maxLength: 2 })
  .map((names) => ({ $case: "images" as const, value: { images: names.map((name) => ({ names: [name], digest: name, sizeBytes: 1 })) } }));
const accepted = fc.constantFrom("r1", "r2").map((revision) => ({ $case: "planAccepted" as const, value: { revision } }));
const finished = fc
  .constantFrom(PlanOutcome.PLAN_OUTCOME_ENFORCED, PlanOutcome.PLAN_OUTCOME_FAILED)
  .map((outcome) => ({ $case: "planFinished" as const, value: { revision: "r1", outcome, reason: "", message: "", failedStep: "" } }));
const events = fc.array(
  fc
    .record({ generation: fc.integer({ min: 1, max: 3 }), body: fc.oneof(condition, condition, images, accepted, finished) })
    .map(({ generation, body }) => Event.fromPartial({ atMs: 1, planEpoch: 1, generation, body })),
  { maxLength: 30 },
);

function folded(all: readonly Event[]): ReportedNode {
  const node = all.reduce((before, event) => foldEvent(before, event, 1), nothingReported);
  return { ...node, conditions: node.conditions.toSorted((a, b) => (a.type < b.type ? -1 : 1)) };
}

it("leaves the coordinator with the same picture of the node", () => {
  let left = 0;
  fc.assert(
    fc.property(events, (all) => {
      const pending: Event[] = [];
      for (const event of all) {
        const superseded = supersededBy(event, pending);
        if (superseded >= 0) pending.splice(superseded, 1);
        pending.push(event);
      }
      left += all.length - pending.length;
      expect(folded(pending)).toEqual(folded(all));
    }),
    { numRuns: 2_000 },
  );
  expect(left).toBeGreaterThan(1_000);
});
