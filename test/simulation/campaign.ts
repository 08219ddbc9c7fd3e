/** Many seeds of fifty agents with every kind of fault: each must hold all invariants and end in sync. */
import type { Campaign } from "../campaign/campaign.ts";
import { stormy } from "./scenario.ts";
import { describeFailure, runSimulation } from "./simulation.ts";

const AGENTS = 50;

export const simulationCampaign: Campaign = {
  name: "simulation",
  summary: `coordinator and ${AGENTS} agents on a virtual clock under faults from a seed: all invariants hold, and all end in sync`,
  fullCount: 200,
  async run({ count, seed, say }) {
    let failed = 0;
    for (let index = 0; index < count; index += 1) {
      const options = { seed: (seed + index) >>> 0, agents: AGENTS, scenario: stormy };
      const result = await runSimulation(options);
      if (result.violations.length === 0) continue;
      failed += 1;
      say(describeFailure(options, result));
    }
    return { passed: count - failed, failed };
  },
};
