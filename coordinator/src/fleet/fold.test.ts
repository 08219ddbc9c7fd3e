import { type Event, PlanOutcome, ReportBatch, StepOutcome } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Folded, fold, foldEvent, nothingReported, type OutboxCursors, type ReportedNode } from "./fold.ts";

const batch = (seq: number, events: Parameters<typeof ReportBatch.fromPartial>[0]["events"] = []): ReportBatch =>
  ReportBatch.fromPartial({ nodeId: "aaaaaaaaaa", seq, events });

function foldAll(steps: readonly { epoch?: string; seq: number; digest?: number }[]): Folded[] {
  let reported: ReportedNode = nothingReported;
  let cursors: OutboxCursors = [];
  return steps.map(({ epoch = "aa", seq, digest }) => {
    const folded = fold(reported, cursors, batch(seq), epoch, digest ?? seq, 0);
    ({ reported, cursors } = folded);
    return folded;
  });
}
const outcomes = (folded: readonly Folded[]): string[] => folded.map((one) => `${one.outcome} ${one.ack?.seq ?? "-"}`);

describe("the order of one node's batches", () => {
  it("takes seqs without a gap, and answers everything else with what it has", () => {
    expect(outcomes(foldAll([{ seq: 1 }, { seq: 2 }, { seq: 4 }, { seq: 2 }, { seq: 3 }, { seq: 4 }]))).toEqual([
      "folded 1",
      "folded 2",
      "gap 2",
      "duplicate 2",
      "folded 3",
      "folded 4",
    ]);
  });

  it("raises the alarm for a known seq with other bytes, and does not ack it", () => {
    const folded = foldAll([{ seq: 1 }, { seq: 2 }, { seq: 1, digest: 77 }, { seq: 2, digest: 78 }, { seq: 2 }, { seq: 3 }]);
    expect(outcomes(folded)).toEqual(["folded 1", "folded 2", "clone -", "clone -", "duplicate 2", "folded 3"]);
  });

  it("follows a new outbox from its first seq, and asks for that first", () => {
    const folded = foldAll([{ seq: 1 }, { seq: 2 }, { epoch: "bb", seq: 2 }, { epoch: "bb", seq: 1 }, { epoch: "bb", seq: 2 }, { seq: 2 }]);
    expect(outcomes(folded)).toEqual(["folded 1", "folded 2", "gap 0", "folded 1", "folded 2", "duplicate 2"]);
  });

  it("takes but does not show what an old outbox still brings", () => {
    const folded = foldAll([{ seq: 1 }, { epoch: "bb", seq: 1 }, { seq: 2 }, { epoch: "bb", seq: 2 }]);
    expect(outcomes(folded)).toEqual(["folded 1", "folded 1", "oldOutbox 2", "folded 2"]);
  });

  it("never acks beyond a seq that was not folded, and folds each seq once, whatever is lost, repeated or out of order", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 200 }), (seqs) => {
        const folded = new Set<number>();
        for (const [index, one] of foldAll(seqs.map((seq) => ({ seq }))).entries()) {
          if (one.outcome === "folded") {
            expect(folded.has(seqs[index]!)).toBe(false);
            folded.add(seqs[index]!);
          }
          for (let seq = 1; seq <= (one.ack?.seq ?? 0); seq++) expect(folded.has(seq)).toBe(true);
        }
      }),
    );
  });
});

describe("what events make of a node", () => {
  const see = (...events: (Partial<Event> & { body: Event["body"] })[]): ReportedNode =>
    ReportBatch.fromPartial({ events: events.map((event) => ({ planEpoch: 1, ...event })) as never }).events.reduce(
      (node, event, index) => foldEvent(node, event, 1_000 + index),
      nothingReported,
    );
  const accepted = (generation: number) => ({ generation, body: { $case: "planAccepted" as const, value: { revision: "r" } } });
  const finished = (generation: number, outcome: PlanOutcome) => ({
    generation,
    body: { $case: "planFinished" as const, value: { revision: `r${generation}`, outcome, reason: "", message: "", failedStep: "" } },
  });
  const result = (generation: number, step: string, outcome: StepOutcome) => ({
    generation,
    body: { $case: "stepResult", value: { step, outcome } } as Event["body"],
  });
  const drift = (path: string, repaired: boolean) => ({
    generation: 1,
    body: { $case: "drift", value: { step: "sysctl", changes: [{ path }], repaired } } as Event["body"],
  });

  it("walks a plan from accepted to enforced, with its steps in order", () => {
    const node = see(
      accepted(1),
      result(1, "sysctl", StepOutcome.STEP_OUTCOME_CHANGED),
      result(1, "images", StepOutcome.STEP_OUTCOME_UNCHANGED),
      finished(1, PlanOutcome.PLAN_OUTCOME_ENFORCED),
    );
    expect(node).toMatchObject({ outcome: "enforced", observedGeneration: 1, planEpoch: 1, enforcedRevision: "r1" });
    expect(node.steps.map((step) => `${step.step} ${step.outcome}`)).toEqual(["sysctl changed", "images unchanged"]);
  });

  it("forgets the steps of an older generation, and passes over what comes late of it", () => {
    const node = see(
      accepted(1),
      result(1, "sysctl", StepOutcome.STEP_OUTCOME_FAILED),
      accepted(2),
      finished(1, PlanOutcome.PLAN_OUTCOME_FAILED),
      result(1, "sysctl", StepOutcome.STEP_OUTCOME_FAILED),
    );
    expect(node).toMatchObject({ outcome: "accepted", observedGeneration: 2, steps: [] });
  });

  it("keeps how a plan ended when its repeated offer is refused", () => {
    const refused = { generation: 1, body: { $case: "planRefused" as const, value: { reason: "OldGeneration", message: "" } } };
    expect(see(accepted(1), finished(1, PlanOutcome.PLAN_OUTCOME_ENFORCED), refused)).toMatchObject({ outcome: "enforced" });
    expect(see({ ...refused, generation: 2 })).toMatchObject({ outcome: "refused", reason: "OldGeneration", observedGeneration: 2 });
  });

  it("keeps drift open until it is repaired, its step runs again, or a plan is enforced", () => {
    expect(see(drift("a", false), drift("b", false)).drift.map((open) => open.changes[0]?.path)).toEqual(["a", "b"]);
    const repaired = see(drift("a", false), drift("b", false), drift("a", true)).drift;
    expect(repaired.map((one) => `${one.changes[0]?.path} ${one.isRepaired}`)).toEqual(["b false", "a true"]);
    const gone = { generation: 1, body: { $case: "drift", value: { step: "sysctl", changes: [], repaired: true } } as Event["body"] };
    expect(see(drift("a", false), gone).drift).toEqual([]);
    expect(see(drift("a", true), accepted(1), finished(1, PlanOutcome.PLAN_OUTCOME_ENFORCED)).drift).toEqual([]);
    expect(see(drift("a", false), result(1, "sysctl", StepOutcome.STEP_OUTCOME_CHANGED)).drift).toEqual([]);
    expect(see(...Array.from({ length: 20 }, (_, index) => drift(`k${index}`, false))).drift).toHaveLength(16);
  });

  it("tells what was said of the node after its plan was enforced from what was said before", () => {
    const condition = (generation: number, type: string) => ({
      generation,
      body: { $case: "condition", value: { type } } as Event["body"],
    });
    const enforced = [accepted(1), condition(1, "A"), finished(1, PlanOutcome.PLAN_OUTCOME_ENFORCED), condition(1, "B")];
    const fresh = (node: ReportedNode): string[] => node.conditions.filter((one) => one.isSinceEnforced).map(({ type }) => type);
    expect([see(...enforced).enforcedAtUnixMs, fresh(see(...enforced))]).toEqual([1_002, ["B"]]);
    // Said again after reports were lost, it is the same change.
    const again = see(...enforced, finished(1, PlanOutcome.PLAN_OUTCOME_ENFORCED), condition(1, "C"));
    expect([again.enforcedAtUnixMs, fresh(again)]).toEqual([1_002, ["B", "C"]]);
    const next = see(...enforced, accepted(2), condition(2, "C"), condition(1, "D"));
    expect([next.enforcedAtUnixMs, fresh(next)]).toEqual([0, ["B"]]);
    expect(fresh(see(...enforced, accepted(2), condition(2, "C"), finished(2, PlanOutcome.PLAN_OUTCOME_ENFORCED)))).toEqual([]);
  });

  it("knows since when a step has drifted, and passes over drift from before the plan that is enforced", () => {
    const since = (node: ReportedNode) => node.drift.map((one) => `${one.changes[0]?.path} ${one.isRepaired} ${one.sinceUnixMs}`);
    expect(since(see(drift("a", false), accepted(0), drift("a", false)))).toEqual(["a false 1000"]);
    expect(since(see(drift("a", false), drift("a", true), drift("a", false)))).toEqual(["a false 1002"]);
    expect(since(see(accepted(2), finished(2, PlanOutcome.PLAN_OUTCOME_ENFORCED), drift("a", false)))).toEqual([]);
  });

  it("keeps a bounded number of steps and conditions, the newest ones, whatever a node makes up", () => {
    const many = Array.from({ length: 500 }, (_, index) => index);
    const condition = (type: string) => ({ generation: 1, body: { $case: "condition", value: { type } } as Event["body"] });
    const node = see(
      ...many.map((index) => condition(`Made${index}`)),
      ...many.map((index) => result(1, `s${index}`, StepOutcome.STEP_OUTCOME_CHANGED)),
    );
    expect([node.conditions.length, node.conditions.at(-1)?.type]).toEqual([64, "Made499"]);
    expect([node.steps.length, node.steps.at(-1)?.step]).toEqual([64, "s499"]);
  });
});
