import { describe, expect, it } from "vitest";
import { fleetStorm } from "./fleet-storm.ts";

/** The whole count is the campaign's. */
const SEEDS = Number(process.env["DROVER_PROPERTY_RUNS"] ?? 300);

describe("I2, I3: random fleets with crashes, failovers and faults between any two steps", () => {
  it("stay within every limit in every state, and come to an end when the storm is over", () => {
    let commits = 0;
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const storm = fleetStorm(seed);
      expect(storm.violations, `seed ${seed}:\n${storm.log.join("\n")}`).toEqual([]);
      commits += storm.commits;
    }
    expect(commits).toBeGreaterThan(SEEDS * 5);
  });
});
