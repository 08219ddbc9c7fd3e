import { describe, expect, it } from "vitest";
import { Backlog } from "./backlog.ts";

describe("the backlog of reports", () => {
  it("is the time that what waits will take, and nothing when nothing waits", () => {
    const backlog = new Backlog();
    expect(backlog.lagMs(0)).toBe(0);
    backlog.pulled(500, 0, 100, 1_000);
    expect(backlog.lagMs(90_000)).toBe(0);
    backlog.pulled(500, 10_000, 100, 100_000);
    expect(backlog.lagMs(100_000)).toBeCloseTo(2_000);
    // Where something waits, what else was done between two pulls counts as well.
    backlog.pulled(500, 10_000, 100, 100_300);
    expect(backlog.lagMs(100_300)).toBeGreaterThan(3_000);
  });

  it("follows the pace of the last pulls", () => {
    const backlog = new Backlog();
    let atMs = 0;
    const pulls = (count: number, ms: number): number => {
      for (let pull = 0; pull < count; pull += 1) backlog.pulled(500, 1_000, ms, (atMs += ms));
      return backlog.lagMs(atMs);
    };
    expect(pulls(40, 50)).toBeCloseTo(100);
    expect(pulls(1, 500)).toBeLessThan(300);
    expect(pulls(40, 500)).toBeGreaterThan(950);
  });

  it("grows while nothing is taken", () => {
    const backlog = new Backlog();
    backlog.pulled(500, 1, 50, 1_000);
    expect(backlog.lagMs(61_000)).toBe(60_000);
  });
});
