/** Plants bugs that somebody could write one by one in agent, coordinator and lifecycle, and counts how many the simulation finds within a few seeds. */
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { seededRandom } from "@drover/lifecycle";
import { ailing, brief, stormy, zoned } from "../../simulation/scenario.ts";
import { runInTurn, type SeedCase, type SeedEnd } from "../../simulation/seed-pool.ts";
import type { Campaign } from "../campaign.ts";
import { openWorkshop, type Workshop } from "../mutation/workshop.ts";
import { type PlantedBug, plantedBugs, withBug } from "./bugs.ts";

const SEEDS = 9;
const AGENTS = 14;
/** Of 30. */
const MAY_ESCAPE = 2;

export const plantedBugsCampaign: Campaign = {
  name: "planted-bugs",
  summary: `${plantedBugs.length} bugs planted one at a time: the simulation finds all but ${MAY_ESCAPE}, each within ${SEEDS} seeds in which nothing breaks without it`,
  fullCount: plantedBugs.length,
  async run({ count, seed, say }) {
    const chosen = drawn(count, seed);
    const escaped: PlantedBug[] = [];
    const first = await openWorkshop(undefined, true);
    const workshops = [first];
    try {
      // Before anything is planted anywhere.
      while (workshops.length < Math.min(availableParallelism(), count)) workshops.push(await openWorkshop(first.top, true));
      const sound = await openWorkshop(first.top, true);
      workshops.push(sound);
      const rest = chosen.values();
      await Promise.all(
        workshops.slice(0, -1).map(async (workshop) => {
          for (const bug of rest) {
            const found = await find(bug, seed, workshop, sound);
            if (found === undefined) escaped.push(bug);
            say(found === undefined ? `not found: ${bug.name}` : `${bug.name}: ${found}`);
          }
        }),
      );
    } finally {
      await Promise.all(workshops.map((workshop) => workshop.close()));
    }
    say(`${chosen.length - escaped.length} of ${chosen.length} found`);
    const failed = escaped.length > MAY_ESCAPE ? escaped.length : 0;
    return { passed: count - failed, failed };
  },
};

/** More than there are begin again from the first. */
function drawn(count: number, seed: number): readonly PlantedBug[] {
  const random = seededRandom(seed);
  const order = plantedBugs.map((bug) => ({ bug, key: random.unit() })).sort((a, b) => a.key - b.key);
  return Array.from({ length: count }, (_, index) => order[index % order.length]!.bug);
}

/** @returns what told of it; undefined: nothing did */
async function find(bug: PlantedBug, seed: number, workshop: Workshop, sound: Workshop): Promise<string | undefined> {
  const scenarios = [zoned, ailing, stormy].filter(({ name }) => bug.shows === undefined || bug.shows === name);
  const cases = Array.from({ length: SEEDS }, (_, index): SeedCase => {
    const scenario = brief(scenarios[index % scenarios.length]!);
    return { seed: (seed + index) >>> 0, agents: AGENTS, scenario: scenario.name };
  });
  const text = withBug(await readFile(join(workshop.top, bug.file), "utf8"), bug);
  for (let from = 0; from < cases.length; ) {
    const failed = await workshop.during(bug.file, text, () => firstFailed(cases.slice(from), workshop));
    if (failed === undefined) return undefined;
    from += failed.index + 1;
    // Whatever fails without it as well is no sign of it.
    const isSign = (await firstFailed([cases[from - 1]!], sound)) === undefined;
    if (isSign) return `seed ${from}: ${failed.failure.replace(/; again: .*/s, "").slice(0, 200)}`;
  }
  return undefined;
}

async function firstFailed(cases: readonly SeedCase[], { top }: Workshop): Promise<{ index: number; failure: string } | undefined> {
  let first: { index: number; failure: string } | undefined;
  const goesOn = (seedCase: SeedCase, { failure }: SeedEnd): boolean => {
    if (failure !== undefined) first = { index: cases.indexOf(seedCase), failure };
    return first === undefined;
  };
  await runInTurn(cases, goesOn, join(top, "test/simulation/seed-worker.ts"));
  return first;
}
