import { describe, expect, it } from "vitest";
import { ReportDemand } from "./report-demand.ts";

describe("how often nodes may report", () => {
  it("gains what the lag is to lose, at least a quarter, and is two minutes at most", () => {
    const demand = new ReportDemand();
    expect(demand.intervalMs).toBe(2_000);
    expect([demand.look(14_000, 0), demand.intervalMs]).toEqual([true, 15_000]);
    expect([demand.look(2_100, 20_000), demand.intervalMs]).toEqual([true, 18_750]);
    demand.look(600_000, 60_000);
    expect([demand.look(600_000, 1_000_000), demand.intervalMs]).toEqual([false, 120_000]);
  });

  it("gains nothing more until nodes may have heeded it", () => {
    const demand = new ReportDemand();
    demand.look(14_000, 0);
    expect([demand.look(9_000, 15_999), demand.look(9_000, 16_000), demand.intervalMs]).toEqual([false, true, 23_000]);
  });

  it("stays between the two bounds, and shrinks to two seconds when nothing waits", () => {
    const demand = new ReportDemand();
    demand.look(3_100, 0);
    expect([demand.look(2_000, 20_000), demand.look(500, 40_000), demand.intervalMs]).toEqual([false, false, 4_100]);
    expect([demand.look(0, 60_000), demand.intervalMs]).toEqual([true, 3_075]);
    expect([demand.look(400, 80_000), demand.look(0, 100_000), demand.look(0, 120_000), demand.intervalMs]).toEqual([
      true,
      true,
      false,
      2_000,
    ]);
  });

  it("comes to rest with something waiting when there is several times too much to tell", () => {
    const demand = new ReportDemand();
    const roundMs = 13_600;
    const lags = Array.from({ length: 20 }, (_, look) => {
      const lagMs = Math.max(0, roundMs - demand.intervalMs);
      demand.look(lagMs, 20_000 * look);
      return lagMs;
    });
    expect(lags.slice(1)).toEqual(lags.slice(1).map(() => 1_000));
  });
});
