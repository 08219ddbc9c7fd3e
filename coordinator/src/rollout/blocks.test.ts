import type { ImpactName } from "@drover/api";
import { describe, expect, it } from "vitest";
import { IMPACTS } from "./approval.ts";
import { blockOf, effectiveImpact, isHolding, isStuck, type Judged, needsDrain } from "./blocks.ts";
import type { FleetMaintenance, FleetNode, ResolvedStrategy } from "./model.ts";
import { desiredOf, maintenanceOf, nodeOf, NOW_MS, observedOf, rolloutOf } from "./nodes-fixture.ts";
import { isInChange, isPlanAtWork, isUnavailable, type Standing, standingOf } from "./standing.ts";

const OBSTACLE = { reason: "Revoked", message: "revoked" };

function judgedAs(standing: Standing, change: Partial<FleetNode> = {}): Judged {
  const node = nodeOf(change);
  return {
    rank: 0,
    node,
    standing,
    wave: 0,
    isInChange: isInChange(node, standing),
    isCounted: isUnavailable(node, standing),
    isAtWork: isPlanAtWork(standing),
  };
}

const failed = (change: Partial<Extract<Standing, { is: "failed" }>> = {}): Standing => ({
  is: "failed",
  isOurs: true,
  isRetried: true,
  isRejoinDue: false,
  deadlineMs: NOW_MS + 1,
  reason: "Down",
  message: "down",
  fingerprint: undefined,
  ...change,
});
const changing = (deadlineMs = NOW_MS + 1): Standing => ({ is: "changing", deadlineMs, isOurs: true });
const soaking: Standing = { is: "soaking", isSettled: true, untilMs: NOW_MS + 1, message: undefined };

describe("the next wave is held back by a node that", () => {
  it.each<[string, Standing, Partial<FleetNode>, boolean]>([
    ["is updated", { is: "updated", isSettled: true }, {}, false],
    ["soaks", soaking, {}, true],
    ["soaks, whatever else is with it", soaking, { verdict: "unhealthy", obstacle: OBSTACLE }, true],
    ["waits for its gates", { is: "gating", deadlineMs: NOW_MS + 1 }, {}, true],
    ["is changing", changing(), {}, true],
    ["is changing, and an obstacle keeps the next plan from it only", changing(), { obstacle: OBSTACLE }, true],
    ["would be changing, were its plan sent", changing(), { obstacle: OBSTACLE, observed: observedOf("enforced") }, true],
    ["is behind", { is: "behind" }, {}, true],
    ["is behind, and unhealthy for another reason", { is: "behind" }, { verdict: "unhealthy" }, false],
    ["is behind and unknown", { is: "behind" }, { verdict: "unknown" }, false],
    ["is behind an obstacle", { is: "behind" }, { obstacle: OBSTACLE }, false],
    ["is draining", { is: "behind" }, { maintenance: maintenanceOf() }, true],
    ["timed out in its drain", { is: "behind" }, { maintenance: maintenanceOf({ phase: "timedOut" }) }, false],
    ["an operator took out", { is: "behind" }, { maintenance: maintenanceOf({ owner: "Operator" }) }, false],
    ["is under repair", { is: "behind" }, { maintenance: maintenanceOf({ owner: "Repair" }) }, false],
    ["failed and tries again, until its deadline", failed(), {}, true],
    ["failed and tries again, at its deadline", failed({ deadlineMs: NOW_MS }), {}, false],
    ["failed for good", failed({ isRetried: false }), {}, false],
    ["failed for good, and is to join again", failed({ isRetried: false, isRejoinDue: true }), {}, true],
    ["failed by an earlier plan", failed({ isOurs: false, isRetried: false }), {}, true],
    ["failed by an earlier plan, and is unhealthy", failed({ isOurs: false, isRetried: false }), { verdict: "unhealthy" }, true],
    ["failed by an earlier plan, and is unknown", failed({ isOurs: false, isRetried: false }), { verdict: "unknown" }, false],
  ])("%s", (_case, standing, change, wanted) => {
    expect(isHolding(judgedAs(standing, change), NOW_MS)).toBe(wanted);
  });
});

describe("stuck is who", () => {
  it.each<[string, Standing, boolean]>([
    ["failed", failed(), true],
    ["is on its way", changing(), false],
    ["should have been there just now", changing(NOW_MS), true],
    ["soaks", soaking, false],
    ["is behind", { is: "behind" }, false],
  ])("%s", (_case, standing, wanted) => {
    expect(isStuck(judgedAs(standing), NOW_MS)).toBe(wanted);
  });
});

describe("the most that a plan can disturb", () => {
  const drift = (impact: ImpactName): FleetNode["drift"] => ({ impact, sinceMs: 0 });
  it.each<[string, Partial<FleetNode>, ImpactName]>([
    ["is the move's without drift", { impact: "restart" }, "restart"],
    ["is the drift's where it is more", { impact: "live", drift: drift("reboot") }, "reboot"],
    ["is the move's where it is more", { impact: "drain", drift: drift("restart"), desired: desiredOf({ revision: "Z" }) }, "drain"],
    ["is the move's for a node that was never moved", { impact: "drain", drift: drift("restart") }, "drain"],
    ["is the drift's alone at the same revision", { impact: "drain", drift: drift("restart"), desired: desiredOf() }, "restart"],
    [
      "is the move's at the same revision when it is to join again",
      { impact: "drain", drift: drift("live"), desired: desiredOf({ isRejoinDue: true }) },
      "drain",
    ],
  ])("%s", (_case, change, wanted) => {
    expect(effectiveImpact(nodeOf(change), rolloutOf())).toBe(wanted);
  });

  it("asks for a drain from the impact on that the strategy names, where there is a Node to drain", () => {
    const asking = (from: ResolvedStrategy["drain"]["from"], isDrainable = true): string =>
      IMPACTS.filter((impact) =>
        needsDrain(nodeOf({ impact, isDrainable }), rolloutOf({}, { drain: { from, deadlineMs: 1, revisitAfterMs: 1 } })),
      ).join(" ");
    expect([asking("restart"), asking("reboot"), asking("none"), asking("never"), asking("live", false)]).toEqual([
      "restart drain reboot",
      "reboot",
      "none live restart drain reboot",
      "",
      "",
    ]);
  });
});

describe("why a node does not begin", () => {
  function why(change: Partial<FleetNode>, strategy: Partial<ResolvedStrategy> = {}): string {
    const input = rolloutOf({}, strategy);
    const node = nodeOf(change);
    const judged = judgedAs(standingOf(node, input, 0, NOW_MS), change);
    const state = { ...judged, name: "wave 1", from: 0, to: 1, soakMs: 0, updated: 0, soaking: 0, holding: 1, isBegun: false, impact: 0 };
    const waves = [{ ...state, phase: "Progressing" as const, approvalDigest: undefined, isApproved: true, isPassed: false }];
    const block = blockOf(judged, { input, now: NOW_MS, waves, current: 0, isStopped: false, setBlock: undefined });
    if (block === undefined) return "nothing";
    return `${block.reason}${block.isLettingGo ? ", let go" : ""}${block.atMs === undefined ? "" : ` until ${block.atMs - NOW_MS}`}`;
  }
  const HOUR_MS = 3_600_000;
  const drifting = (decidedAgoMs: number, impact: ImpactName = "restart"): Partial<FleetNode> => ({
    desired: desiredOf({ decidedAtMs: NOW_MS - decidedAgoMs, enforcedAtMs: NOW_MS - decidedAgoMs }),
    observed: observedOf("enforced"),
    drift: { impact, sinceMs: NOW_MS },
  });

  it.each<[string, Partial<FleetNode>, Partial<ResolvedStrategy>, string]>([
    ["drift less than an hour after its plan", drifting(HOUR_MS - 1), {}, "DriftReturns, let go until 1"],
    ["drift an hour after its plan", drifting(HOUR_MS), {}, "nothing"],
    ["drift where all may go at once", drifting(HOUR_MS), { isAll: true }, "ImpactNotLive, let go"],
    ["live drift where all may go at once", drifting(HOUR_MS, "live"), { isAll: true }, "nothing"],
    ["drift of an unhealthy node", { ...drifting(HOUR_MS), verdict: "unhealthy" }, {}, "NodeUnhealthy, let go"],
    ["a node behind that is unhealthy", { verdict: "unhealthy" }, {}, "NodeUnhealthy, let go"],
    [
      "a node that an earlier plan broke",
      { verdict: "unhealthy", desired: desiredOf({ revision: "Z" }), observed: observedOf("failed") },
      {},
      "nothing",
    ],
    ["an unknown node", { verdict: "unknown" }, {}, "NodeUnknown"],
  ])("%s", (_case, change, strategy, wanted) => {
    expect(why(change, strategy)).toBe(wanted);
  });

  const drain = (change: Partial<FleetMaintenance>, impact: ImpactName = "drain"): Partial<FleetNode> => ({
    impact,
    isDrainable: true,
    maintenance: maintenanceOf(change),
  });
  it.each<[string, Partial<FleetNode>, string]>([
    ["is drained", drain({ phase: "drained" }), "nothing"],
    ["is draining", drain({}), "Draining"],
    ["need not be drained any more", drain({}, "live"), "UnderMaintenance, let go"],
    ["is being let back", drain({ wanted: "release", phase: "drained" }), "UnderMaintenance"],
    ["is to be tried again later", drain({ phase: "timedOut", revisitAtMs: NOW_MS + 1 }), "DrainTimedOut until 1"],
    ["is to be tried again now", drain({ phase: "timedOut", revisitAtMs: NOW_MS }), "nothing"],
    ["is to be tried again at any time", drain({ phase: "timedOut" }), "nothing"],
  ])("a node that %s", (_case, change, wanted) => {
    expect(why(change)).toBe(wanted);
  });
});
