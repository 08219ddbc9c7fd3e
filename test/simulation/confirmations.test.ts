import { Plan } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { confirmations } from "./confirmations.ts";
import type { Observation } from "./observations.ts";

const pair = { planEpoch: 1, generation: 1 };
const of = (type: "confirmed" | "accepted" | "intent" | "ended" | "tried", outcome = ""): Observation => {
  switch (type) {
    case "accepted":
      return { type, node: "a", ...pair, plan: Plan.fromPartial({ ...pair, confirmDeadlineMs: 60_000 }) };
    case "intent":
      return { type, node: "a", ...pair, kind: "containerd" };
    case "ended":
      return { type, node: "a", ...pair, outcome, isOver: true };
    case "tried":
      return { type, node: "a", ...pair, phase: "trying" };
    case "confirmed":
      return { type, node: "a", ...pair };
  }
};
const runs = { type: "life", node: "a", isRunning: true, boot: 1 } as const;
const untried: Observation = { type: "untried", node: "a" };
const begun = [runs, of("accepted"), of("tried"), of("intent")];

function told(observations: readonly Observation[], lookAtMs = 0): readonly (string | undefined)[] {
  let nowMs = 0;
  const checker = confirmations(() => nowMs, 60_000);
  const seen = observations.map((observation) => checker.see(observation));
  nowMs = lookAtMs;
  return [...seen, checker.look?.()].filter((message) => message !== undefined);
}

describe("I4", () => {
  it("lets a change stay that was confirmed, and one that was undone be forgotten", () => {
    expect(told([...begun, of("confirmed"), untried, of("ended", "enforced")], 1e6)).toEqual([]);
    expect(told([...begun, of("ended", "rejected NotConfirmed"), untried], 1e6)).toEqual([]);
  });

  it("finds a change that stays unconfirmed, one that was begun with nothing kept, and one that is begun again after it was undone", () => {
    expect(told([...begun, untried])).toEqual(["a keeps (1, 1), which nobody has confirmed"]);
    expect(told([runs, of("accepted"), of("intent")])).toHaveLength(1);
    expect(told([...begun, of("ended", "rejected NotConfirmed"), untried, of("tried"), of("intent")])).toEqual([
      "a begins containerd of (1, 1) again, which was undone",
    ]);
  });

  it("finds a change that stays after the machine has booted, whoever confirms it", () => {
    expect(told([...begun, { ...runs, boot: 2 }, of("tried"), of("confirmed"), untried])).toHaveLength(1);
  });

  it("finds one that is not undone a minute after its time, and waits while no agent runs", () => {
    expect(told(begun, 119_000)).toEqual([]);
    expect(told(begun, 121_000)).toEqual(["a has not undone (1, 1), which was due 61 s ago"]);
    expect(told([...begun, { type: "life", node: "a", isRunning: false, boot: 1 }], 1e6)).toEqual([]);
  });
});
