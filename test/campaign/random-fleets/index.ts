/** Random fleets in storms of faults over the real decide(): the invariants in every state, and an end when the storm is over. */
import { fleetStorm } from "../../../coordinator/src/rollout/rehearsal/fleet-storm.ts";
import type { Campaign } from "../campaign.ts";

const LINES_SHOWN = 60;

export const randomFleetsCampaign: Campaign = {
  name: "random-fleets",
  summary: "random fleets, strategies and faults with crashes, restarts and failovers between any two steps: I2 and I3 hold in every state",
  fullCount: 10_000,
  async run({ count, seed, say }) {
    let failed = 0;
    for (let index = 0; index < count; index += 1) {
      const own = (seed + index) >>> 0;
      const { violations, log } = fleetStorm(own);
      if (violations.length === 0) continue;
      failed += 1;
      say(
        `case ${index} (seed ${own}, alone: --count 1 --seed ${own}): ${violations.join("; ")}\n    ${log.slice(-LINES_SHOWN).join("\n    ")}`,
      );
    }
    return { passed: count - failed, failed };
  },
};
