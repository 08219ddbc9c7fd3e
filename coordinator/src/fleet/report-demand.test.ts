import { describe, expect, it } from "vitest";
import { ReportDemand } from "./report-demand.ts";

describe("how often nodes may report", () => {
  it("halves while the coordinator is behind, twice at once when it is far behind, down to two minutes", () => {
    const demand = new ReportDemand();
    expect(demand.intervalMs).toBe(2_000);
    expect([demand.look(6_000), demand.intervalMs]).toEqual([true, 4_000]);
    expect([demand.look(61_000), demand.intervalMs]).toEqual([true, 16_000]);
    for (let look = 0; look < 10; look += 1) demand.look(600_000);
    expect([demand.look(600_000), demand.intervalMs]).toEqual([false, 128_000]);
  });

  it("stays between the two bounds, and grows again in steps of two calm looks", () => {
    const demand = new ReportDemand();
    demand.look(61_000);
    expect([demand.look(3_000), demand.look(3_000), demand.intervalMs]).toEqual([false, false, 8_000]);
    expect([demand.look(0), demand.look(3_000), demand.look(0), demand.intervalMs]).toEqual([false, false, false, 8_000]);
    expect([demand.look(0), demand.intervalMs]).toEqual([true, 4_000]);
    expect([demand.look(0), demand.look(0), demand.intervalMs]).toEqual([false, true, 2_000]);
    expect([demand.look(0), demand.look(0), demand.intervalMs]).toEqual([false, false, 2_000]);
  });
});
