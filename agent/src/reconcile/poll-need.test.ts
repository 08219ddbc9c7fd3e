import { VirtualClock } from "@drover/lifecycle";
import { Budget } from "@drover/proto";
import { beforeEach, describe, expect, it } from "vitest";
import { PollNeed } from "./poll-need.ts";

const AGAIN_MS = 600_000;
const budgetOf = (coordinatorStart: number): Budget => Budget.fromPartial({ coordinatorStart, againWithinMs: AGAIN_MS });

let clock: VirtualClock;
let need: PollNeed;

beforeEach(() => {
  clock = new VirtualClock();
  need = new PollNeed(clock);
});

describe("a poll is needed", () => {
  it("before the first session, whatever is heard", () => {
    need.heard(budgetOf(7));
    expect(need.isSpared).toBe(false);
  });

  it("not after a session, unless the bus then brings nothing for the time of two budgets", async () => {
    need.greeted(budgetOf(7));
    expect(need.isSpared).toBe(true);
    await clock.advance(2 * AGAIN_MS);
    expect(need.isSpared).toBe(false);
  });

  it("when the coordinator was started anew, until they have conversed", () => {
    need.greeted(budgetOf(7));
    need.heard(budgetOf(8));
    expect(need.isSpared).toBe(false);
    need.greeted(budgetOf(8));
    expect(need.isSpared).toBe(true);
  });

  it("when two budgets did not come: wake-ups may be lost as they were", async () => {
    need.greeted(budgetOf(7));
    need.heard(budgetOf(7));
    await clock.advance(2 * AGAIN_MS - 1);
    expect(need.isSpared).toBe(true);
    await clock.advance(1);
    expect(need.isSpared).toBe(false);
  });

  it("after hours all the same", async () => {
    need.greeted(budgetOf(7));
    let sparedMs = 0;
    for (need.heard(budgetOf(7)); need.isSpared && sparedMs < 86_400_000; need.heard(budgetOf(7))) {
      await clock.advance(AGAIN_MS);
      sparedMs += AGAIN_MS;
    }
    expect(sparedMs).toBeGreaterThan(8 * 3_600_000);
    expect(sparedMs).toBeLessThan(16 * 3_600_000);
  });

  it.each([undefined, Budget.fromPartial({ heartbeatIntervalMs: 10_000 })])("always with an older coordinator (%j)", (budget) => {
    need.greeted(budget);
    need.heard(Budget.fromPartial({ heartbeatIntervalMs: 10_000 }));
    expect(need.isSpared).toBe(false);
  });
});
