/**
 * Many seeds with every kind of fault: each must hold all invariants and end in sync. Most are small and brief, so that there are many; every fiftieth
 * is as large and as long as they come. Some are run twice: the same seed gives the same run.
 */
import { seededRandom } from "@drover/lifecycle";
import type { Campaign } from "../campaign/campaign.ts";
import { ailing, brief, stormy, zoned } from "./scenario.ts";
import { runSeeds, type SeedCase } from "./seed-pool.ts";

const SCENARIOS = [stormy, zoned, ailing];
const LARGE_EVERY = 50;
const TWICE_EVERY = 40;

export const simulationCampaign: Campaign = {
  name: "simulation",
  summary:
    "coordinator and 10 to 50 agents on a virtual clock under faults from a seed, with zones and repairs in turn: all invariants hold, and all end in sync",
  fullCount: 2_000,
  async run({ count, seed, say }) {
    const cases = Array.from({ length: count }, (_, index) => caseOf((seed + index) >>> 0, index));
    const totals = { agents: 0, agentMinutes: 0, virtualMinutes: 0, faults: 0, observations: 0, cpuSeconds: 0 };
    const failed = new Set<SeedCase>();
    const digests = new Map<SeedCase, string | undefined>();
    const again = cases.filter((_, index) => index % TWICE_EVERY === 1);
    const fail = (seedCase: SeedCase, failure: string): void => {
      failed.add(seedCase);
      say(failure);
    };
    await runSeeds([...cases, ...again], (seedCase, { stats, cpuSeconds = 0, transcriptDigest, failure }) => {
      totals.cpuSeconds += cpuSeconds;
      if (digests.has(seedCase)) {
        if (transcriptDigest !== digests.get(seedCase)) fail(seedCase, `seed ${seedCase.seed} went another way the second time`);
        return;
      }
      digests.set(seedCase, transcriptDigest);
      if (failure !== undefined) fail(seedCase, failure);
      if (stats === undefined) return;
      const minutes = stats.virtualMs / 60_000;
      totals.agents += stats.agents;
      totals.virtualMinutes += minutes;
      totals.agentMinutes += stats.agents * minutes;
      totals.faults += stats.faults;
      totals.observations += stats.observations;
    });
    const { agents, virtualMinutes, agentMinutes, faults, observations, cpuSeconds } = totals;
    say(
      `${count} seeds, ${again.length} of them twice: ${agents} agents, ${Math.round(virtualMinutes)} virtual minutes (${Math.round(agentMinutes)} agent minutes), ` +
        `${faults} faults, ${observations} observations; ${(cpuSeconds / (count + again.length)).toFixed(2)} s of CPU each`,
    );
    return { passed: count - failed.size, failed: failed.size };
  },
};

function caseOf(seed: number, index: number): SeedCase {
  const scenario = SCENARIOS[index % SCENARIOS.length]!;
  if (index % LARGE_EVERY === LARGE_EVERY - 1) return { seed, agents: 50, scenario: scenario.name };
  // One in ten of the brief ones has up to thirty agents, the others have ten to twenty.
  const random = seededRandom(seed);
  const agents = random.unit() < 0.1 ? 21 + Math.floor(random.unit() * 10) : 10 + Math.floor(random.unit() * 11);
  return { seed, agents, scenario: brief(scenario).name };
}
