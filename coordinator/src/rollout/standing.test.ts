import { describe, expect, it } from "vitest";
import type { FleetNode, FleetObserved, RolloutInput } from "./model.ts";
import { circumstances, DECIDED_MS, desiredOf, nodeOf, NOW_MS, observedOf, plans, rolloutOf } from "./nodes-fixture.ts";
import {
  hasActed,
  isBeyond,
  isInChange,
  isPlanAtWork,
  isUnavailable,
  type Neighbour,
  neighbourStanding,
  seconds,
  type Standing,
  standingOf,
} from "./standing.ts";

const LEFT_MS = 500_000;

function standing(change: Partial<FleetNode>, soakMs = 0, input: Partial<RolloutInput> = {}, now = NOW_MS): Standing {
  return standingOf(nodeOf(change), rolloutOf(input), soakMs, now);
}

/** In words: only what is set, deadlines from now on. */
function told(of: Standing): string {
  switch (of.is) {
    case "behind":
      return "behind";
    case "updated":
      return `updated${of.isSettled ? ", settled" : ""}`;
    case "soaking":
      return `soaking for ${of.untilMs - NOW_MS}${of.isSettled ? ", settled" : ""}${of.message === undefined ? "" : `, ${of.message}`}`;
    case "gating":
      return `gating for ${of.deadlineMs - NOW_MS}`;
    case "changing":
      return `changing for ${of.deadlineMs - NOW_MS}${of.isOurs ? ", ours" : ""}`;
    case "failed":
      return `failed with ${of.reason}${of.isOurs ? ", ours" : ""}${of.isRetried ? ", retried" : ""}${of.isRejoinDue ? ", rejoin" : ""}`;
  }
}

describe("a node stands", () => {
  it.each<[string, string]>([
    ["never decided", "behind"],
    ["sent", `changing for ${LEFT_MS}, ours`],
    ["sent long ago", "failed with ProgressDeadlineExceeded, ours, retried"],
    ["sent, of an old revision", `changing for ${LEFT_MS}`],
    ["sent long ago, of an old revision", "changing for 0"],
    ["accepted", `changing for ${LEFT_MS}, ours`],
    ["an earlier generation enforced", `changing for ${LEFT_MS}, ours`],
    ["a later generation enforced", "behind"],
    ["a later epoch enforced", "behind"],
    ["an earlier epoch enforced", `changing for ${LEFT_MS}, ours`],
    ["enforced", "updated"],
    ["enforced and settled", "updated, settled"],
    ["settled by another rollout", "updated, settled"],
    ["settled at an old revision", "behind"],
    ["settled, to join again", "behind"],
    ["enforced, to join again", "updated"],
    ["gates pending", `gating for ${LEFT_MS}`],
    ["gates failing", `gating for ${LEFT_MS}`],
    ["gates failing for too long", "failed with GateFailed, ours"],
    ["settled, gates failing", "updated, settled"],
    ["gates of an old revision failing", "behind"],
    ["failed", "failed with Down, ours, retried"],
    ["rejected", "failed with NotConfirmed, ours"],
    ["refused", "failed with PlanExpired, ours"],
    ["interrupted", "failed with BootedUnconfirmed"],
    ["failed, to join again", "failed with Down, ours, retried, rejoin"],
    ["failed at an old revision", "failed with Down, retried"],
    ["an earlier generation failed", `changing for ${LEFT_MS}, ours`],
  ])("%s: %s", (plan, wanted) => {
    expect(told(standing(plans[plan]!))).toBe(wanted);
  });

  it("behind at an old revision, but broken by it where its gates fail and it is unhealthy", () => {
    const broken = { ...plans["gates of an old revision failing"]!, verdict: "unhealthy" as const };
    expect(told(standing(broken))).toBe("failed with GateFailed");
    expect(told(standing({ ...broken, gate: { state: "pending", message: "" } }))).toBe("behind");
    expect(told(standing({ ...broken, desired: { ...broken.desired!, enforcedAtMs: DECIDED_MS } }))).toBe("behind");
  });

  it("soaking from when it was settled, for as long as its wave asks, and for a progress deadline more while its gates fail", () => {
    const settled = plans["enforced and settled"]!;
    expect([100_001, 100_000].map((soakMs) => told(standing(settled, soakMs)))).toEqual(["soaking for 1, settled", "updated, settled"]);
    expect(told(standing(plans["enforced"]!, 5))).toBe("soaking for 5");
    expect(told(standing(plans["settled by another rollout"]!, 100_001))).toBe("updated, settled");
    const failing = plans["settled, gates failing"]!;
    expect(told(standing(failing, 100_001))).toBe("soaking for 1, settled, GateFailed: Ready");
    expect(told(standing(failing, 100_000))).toBe("soaking for 600000, settled, GateFailed: Ready");
    expect(told(standing(failing, 100_000, {}, NOW_MS + 600_000))).toBe("updated, settled");
    expect(told(standing({ ...failing, gate: { state: "pending", message: "Ready" } }, 100_001))).toBe(
      "soaking for 1, settled, its gates have not passed: Ready",
    );
    expect(told(standing(failing, 0))).toBe("updated, settled");
  });

  it("failed by nobody's fault of this rollout when it was decided before a retry, or by another rollout", () => {
    const { desired, observed } = plans["rejected"]!;
    const retried = (retriedAtMs: number): string => told(standing({ desired, observed }, 0, { retriedAtMs }));
    expect([retried(DECIDED_MS), retried(DECIDED_MS + 1)]).toEqual(["failed with NotConfirmed, ours", "failed with NotConfirmed"]);
    expect(told(standing({ desired: desiredOf({ rollout: "web-0" }), observed }))).toBe("failed with NotConfirmed");
  });

  it("in words with its deadline, outcome, reason and message", () => {
    expect(standing(plans["rejected"]!)).toMatchObject({ message: "rejected: NotConfirmed: m", deadlineMs: NOW_MS + LEFT_MS });
    expect(standing(plans["sent long ago"]!)).toMatchObject({
      message: "ProgressDeadlineExceeded: did not enforce generation 7 within 600 s",
      fingerprint: undefined,
    });
    expect(standing(plans["failed"]!)).toMatchObject({ fingerprint: "f" });
  });
});

describe("I3: a node counts", () => {
  const counts = (plan: string, circumstance = "calm", soakMs = 0): string => {
    const node = nodeOf({ ...plans[plan], ...circumstances[circumstance] });
    const of = standingOf(node, rolloutOf(), soakMs, NOW_MS);
    const words = [isPlanAtWork(of) && "at work", isInChange(node, of) && "in change", isUnavailable(node, of) && "unavailable"];
    return words.filter((word) => word !== false).join(", ");
  };
  const ALL = "at work, in change, unavailable";
  it.each<[string, string, string]>([
    ["never decided", "calm", ""],
    ["never decided", "unhealthy", "unavailable"],
    ["never decided", "unknown", "unavailable"],
    ["never decided", "draining", "in change, unavailable"],
    ["never decided", "drained", "in change, unavailable"],
    ["never decided", "let back", "in change, unavailable"],
    ["never decided", "drain timed out", ""],
    ["never decided", "taken out", "in change, unavailable"],
    ["never decided", "under repair", "in change, unavailable"],
    ["sent", "calm", ALL],
    ["sent", "obstacle", ALL],
    ["sent", "unsent", ALL],
    ["accepted", "unsent", ALL],
    ["failed", "calm", ALL],
    ["failed", "unsent", ALL],
    ["rejected", "calm", "unavailable"],
    ["refused", "calm", "unavailable"],
    ["gates pending", "calm", ALL],
    ["enforced and settled", "calm", ""],
  ])("%s and %s", (plan, circumstance, wanted) => {
    expect(counts(plan, circumstance)).toBe(wanted);
  });

  it("while it soaks, and while another's drain of it timed out", () => {
    expect(counts("enforced and settled", "calm", 100_001)).toBe(ALL);
    const maintenance = { ...circumstances["drain timed out"]!.maintenance!, owner: "Operator" as const };
    const node = nodeOf({ maintenance });
    expect(isInChange(node, { is: "behind" })).toBe(true);
  });
});

describe("what the machine did", () => {
  it.each<[string, number, number, boolean, boolean]>([
    ["the same", 1, 7, true, false],
    ["an earlier generation", 1, 6, false, false],
    ["a later generation", 1, 8, false, true],
    ["an earlier epoch", 0, 8, false, false],
    ["a later epoch", 2, 6, false, true],
  ])("of %s", (_case, planEpoch, generation, acted, beyond) => {
    const observed = observedOf("enforced", { planEpoch, generation });
    expect([hasActed(nodeOf({ desired: desiredOf(), observed })), isBeyond(observed, desiredOf())]).toEqual([acted, beyond]);
  });

  it("is nothing where nothing was decided or told", () => {
    expect([hasActed(nodeOf({ observed: observedOf("enforced") })), hasActed(nodeOf({ desired: desiredOf() }))]).toEqual([false, false]);
  });
});

it("seconds are whole, never too few, never negative", () => {
  expect([0, 1, 1_000, 1_001, -5].map(seconds)).toEqual(["0 s", "1 s", "1 s", "2 s", "0 s"]);
});

describe("I3: a node of another set", () => {
  const decided = { planEpoch: 1, generation: 2, rollout: "db-1", decidedAtMs: DECIDED_MS };
  const rollout = { name: "db-1", soakMs: 5_000, progressDeadlineMs: 10_000 };
  const told = (outcome: FleetObserved["outcome"], generation = 2) => ({ planEpoch: 1, generation, outcome });

  it.each<[string, Partial<Neighbour>, number, string]>([
    ["with nothing decided", {}, 0, "available"],
    ["with nothing decided and ill", { verdict: "unhealthy" }, 0, "unavailable"],
    ["never heard", { verdict: undefined }, 0, "unavailable"],
    ["drained", { maintenance: { owner: "Rollout", phase: "drained" } }, 0, "inChange"],
    ["whose rollout's drain timed out", { maintenance: { owner: "Rollout", phase: "timedOut" } }, 0, "available"],
    ["whose operator's drain timed out", { maintenance: { owner: "Operator", phase: "timedOut" } }, 0, "inChange"],
    ["decided and not heard", { desired: decided, observed: undefined }, 0, "inChange"],
    ["that accepted, however long ago", { desired: decided, observed: told("accepted") }, 20_000, "inChange"],
    ["that tries a failed plan again", { desired: decided, observed: told("failed"), verdict: "unhealthy" }, 20_000, "inChange"],
    ["that rejected", { desired: decided, observed: told("rejected") }, 0, "unavailable"],
    ["that refused", { desired: decided, observed: told("refused") }, 0, "unavailable"],
    ["that rejected the plan before", { desired: decided, observed: told("rejected", 1) }, 0, "inChange"],
    ["that enforces the plan before", { desired: decided, observed: told("enforced", 1) }, 20_000, "inChange"],
    ["that enforces what an old backup forgot", { desired: decided, observed: told("enforced", 3) }, 0, "available"],
    ["enforced, not proved", { desired: decided, observed: told("enforced") }, 9_999, "inChange"],
    ["enforced, not proved by its deadline", { desired: decided, observed: told("enforced") }, 10_000, "unavailable"],
    ["that soaks", { desired: { ...decided, enforcedAtMs: DECIDED_MS }, observed: told("enforced") }, 4_999, "inChange"],
    ["that soaked", { desired: { ...decided, enforcedAtMs: DECIDED_MS }, observed: told("enforced") }, 5_000, "available"],
    ["enforced for an earlier rollout", { desired: { ...decided, rollout: "db-0" }, observed: told("enforced") }, 0, "available"],
  ])("%s", (_, change, afterMs, expected) => {
    const node: Neighbour = { verdict: "healthy", maintenance: undefined, desired: undefined, observed: undefined, ...change };
    expect(neighbourStanding(node, rollout, DECIDED_MS + afterMs)).toBe(expected);
  });
});
