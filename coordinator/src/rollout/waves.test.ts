import { describe, expect, it } from "vitest";
import { approvalDigest, IMPACTS } from "./approval.ts";
import type { ResolvedStrategy, RolloutInput } from "./model.ts";
import { rolloutOf, strategyOf } from "./nodes-fixture.ts";
import { slicesOf, statesOf, type WaveState, type WaveTally } from "./waves.ts";

const canary = (nodes: number): ResolvedStrategy["canary"] => ({ nodes, soakMs: 60, prefers: () => false });

describe("waves of a set", () => {
  it.each<[string, Partial<ResolvedStrategy>, number, string]>([
    ["one without any", {}, 3, "wave 1 0-3"],
    ["none of no nodes", { canary: canary(1), waves: [2] }, 0, ""],
    ["canary, waves, rest", { canary: canary(1), waves: [3, 5] }, 9, "canary 0-1, wave 2 1-3, wave 3 3-5, wave 4 5-9"],
    ["of a set as small as a wave", { canary: canary(1), waves: [3, 5] }, 3, "canary 0-1, wave 2 1-3"],
    ["that the canary reaches already", { canary: canary(3), waves: [3, 5] }, 9, "canary 0-3, wave 2 3-5, wave 3 5-9"],
    ["of a canary larger than the set", { canary: canary(5) }, 2, "canary 0-2"],
    ["without a canary", { waves: [1] }, 2, "wave 1 0-1, wave 2 1-2"],
  ])("are %s", (_case, strategy, nodes, wanted) => {
    const slices = slicesOf(strategyOf(strategy), nodes, 0);
    expect(slices.map(({ name, from, to }) => `${name} ${from}-${to}`).join(", ")).toBe(wanted);
  });

  it("soak for their own time, but those that were promoted", () => {
    const strategy = strategyOf({ canary: canary(1), waves: [2], soakMs: 30 });
    expect([0, 1, 2, 3].map((promoted) => slicesOf(strategy, 3, promoted).map(({ soakMs }) => soakMs))).toEqual([
      [60, 30, 30],
      [0, 30, 30],
      [0, 0, 30],
      [0, 0, 0],
    ]);
  });
});

const tally = (change: Partial<WaveTally> = {}): WaveTally => ({
  updated: 0,
  soaking: 0,
  holding: 1,
  isBegun: false,
  impact: 1,
  ...change,
});
const DONE = tally({ updated: 1, holding: 0 });

function states(
  strategy: Partial<ResolvedStrategy>,
  tallies: readonly WaveTally[],
  change: Partial<RolloutInput> = {},
): readonly WaveState[] {
  const input = rolloutOf(change, { waves: tallies.slice(1).map((_, index) => index + 1), ...strategy });
  return statesOf(input, slicesOf(input.strategy, tallies.length, input.promotedWave), tallies, IMPACTS);
}

describe("the phase of a wave", () => {
  it.each<[string, WaveTally, string]>([
    ["has nobody updated", tally(), "Progressing"],
    ["has somebody to move", tally({ updated: 1 }), "Progressing"],
    ["has nobody to move and nobody updated", tally({ holding: 0 }), "Progressing"],
    ["is done", DONE, "Complete"],
    ["has all that hold it soaking", tally({ updated: 2, soaking: 2, holding: 2 }), "Soaking"],
    ["has one soaking and one to move", tally({ updated: 1, soaking: 1, holding: 2 }), "Progressing"],
  ])("that %s", (_case, only, wanted) => {
    expect(states({}, [only])[0]).toMatchObject({ phase: wanted, isPassed: wanted === "Complete" });
  });

  it.each<[string, Partial<ResolvedStrategy>, Partial<RolloutInput>, string]>([
    ["without a webhook", {}, {}, "Complete, Progressing"],
    ["while the webhook is asked", { hasWebhook: true }, {}, "Gated, Pending"],
    [
      "while the webhook refuses",
      { hasWebhook: true },
      { waveGates: new Map([[1, { isPassed: false, message: "", atMs: 0 }]]) },
      "Gated, Pending",
    ],
    [
      "when the webhook let it pass",
      { hasWebhook: true },
      { waveGates: new Map([[1, { isPassed: true, message: "", atMs: 0 }]]) },
      "Complete, Progressing",
    ],
  ])("that is done, %s", (_case, strategy, change, wanted) => {
    const phases = states(strategy, [DONE, tally()], change).map(({ phase }) => phase);
    expect(phases.join(", ")).toBe(wanted);
  });

  it("that is the last is not gated, and one after a wave that is not done is pending even if it is done", () => {
    expect(states({ hasWebhook: true }, [DONE])[0]).toMatchObject({ phase: "Complete", isPassed: true });
    expect(states({}, [tally(), DONE]).map(({ phase, isPassed }) => `${phase} ${isPassed}`)).toEqual([
      "Progressing false",
      "Pending false",
    ]);
  });
});

describe("approval of a wave", () => {
  const approvals = new Set([1]);
  const shown = { revision: "A", strategyDigest: "plain", wave: 1, nodes: 1, impact: "live" } as const;

  it.each<[string, WaveTally, string]>([
    ["waits while nothing of it has begun", tally(), "AwaitingApproval"],
    ["does not wait where something has begun", tally({ isBegun: true }), "Progressing"],
    ["does not wait where nobody is to be moved", tally({ holding: 0 }), "Progressing"],
  ])("%s", (_case, only, wanted) => {
    expect(states({ approvals }, [only])[0]).toMatchObject({ phase: wanted, isApproved: false, approvalDigest: approvalDigest(shown) });
  });

  it("is not asked for where the strategy does not", () => {
    expect(states({}, [tally()])[0]).toMatchObject({ isApproved: true, approvalDigest: undefined });
    expect(states({ approvals }, [tally(), tally()])[1]).toMatchObject({ isApproved: true, approvalDigest: undefined });
  });

  it("holds for what was shown, or for less, and not for more", () => {
    const given = (impact: "none" | "live" | "restart"): Partial<RolloutInput> => ({
      approvals: new Map([[1, approvalDigest({ ...shown, impact })]]),
    });
    expect(["none", "live", "restart"].map((impact) => states({ approvals }, [tally()], given(impact as "live"))[0]!.isApproved)).toEqual([
      false,
      true,
      true,
    ]);
    expect(states({ approvals }, [tally()], given("restart"))[0]!.approvalDigest).toBe(approvalDigest({ ...shown, impact: "restart" }));
  });

  it("is needed also by a wave that was promoted: that is about soaks", () => {
    expect(states({ approvals }, [tally()], { promotedWave: 1 })[0]).toMatchObject({
      isApproved: false,
      approvalDigest: approvalDigest(shown),
    });
    expect(states({ approvals: new Set([2]) }, [DONE, tally()], { promotedWave: 1 })[1]).toMatchObject({ isApproved: false });
  });

  it("of a wave beyond the last is asked of the last", () => {
    expect(states({ approvals: new Set([9]) }, [tally(), tally()]).map(({ isApproved }) => isApproved)).toEqual([true, false]);
    expect(states({ approvals: new Set([1]) }, [tally(), tally()]).map(({ isApproved }) => isApproved)).toEqual([false, true]);
  });
});
