import { describe, expect, it } from "vitest";
import { ReportDemand } from "./report-demand.ts";

describe("how often nodes may report", () => {
  it("gains what the lag is to lose, at least a quarter, and is two minutes at most", () => {
    const demand = new ReportDemand();
    expect(demand.intervalMs).toBe(2_000);
    expect([demand.look(14_000), demand.intervalMs]).toEqual([true, 15_000]);
    expect([demand.look(2_100), demand.intervalMs]).toEqual([true, 18_750]);
    demand.look(600_000);
    expect([demand.look(600_000), demand.intervalMs]).toEqual([false, 120_000]);
  });

  it("stays between the two bounds, and shrinks to two seconds when nothing waits", () => {
    const demand = new ReportDemand();
    demand.look(3_100);
    expect([demand.look(2_000), demand.look(500), demand.intervalMs]).toEqual([false, false, 4_100]);
    expect([demand.look(0), demand.intervalMs]).toEqual([true, 3_075]);
    expect([demand.look(400), demand.look(0), demand.look(0), demand.intervalMs]).toEqual([true, true, false, 2_000]);
  });

  it("comes to rest with something waiting when there is several times too much to tell", () => {
    const demand = new ReportDemand();
    const roundMs = 13_600;
    const lags = Array.from({ length: 20 }, () => {
      const lagMs = Math.max(0, roundMs - demand.intervalMs);
      demand.look(lagMs);
      return lagMs;
    });
    expect(lags.slice(1)).toEqual(lags.slice(1).map(() => 1_000));
  });
});
