import { describe, expect, it } from "vitest";
import { Tale, type Variation } from "./tale.ts";
import type { TaleOf } from "./tales.ts";
import { talesOfFaults } from "./tales-of-faults.ts";
import { talesOfWaves } from "./tales-of-waves.ts";

/** Few runs are asked for where many test runs follow each other: the longest stories are left out then. */
const IS_SHORT = Number(process.env["DROVER_PROPERTY_RUNS"] ?? 300) < 100;
const tales = [...talesOfWaves, ...talesOfFaults]
  .filter(({ isLong }) => !(IS_SHORT && isLong === true))
  .map((of) => [of.name, of] as const);
const SEEDS = [1, 2, 3, 4];
const MAX_KILLS = 40;

function told(of: TaleOf, variation: Variation = {}): Tale {
  const tale = new Tale(variation);
  of.tell(tale);
  tale.play();
  expect(tale.world.violations, JSON.stringify(variation)).toEqual([]);
  return tale;
}

/** Every decision of every commit, or as many as there is time for, evenly spread. */
function kills(commits: readonly number[], most: number): Variation[] {
  const all = commits.flatMap((decisions, pass) => Array.from({ length: decisions }, (_, after) => ({ kill: { pass, after } })));
  const step = Math.max(1, Math.ceil(all.length / most));
  return all.filter((_, index) => index % step === 0);
}

describe("a whole rollout reads as a story", () => {
  it.each(tales)("%s", async (name, of) => {
    await expect(`${of.about}\n\n${told(of).text}`).toMatchFileSnapshot(`../transcripts/${name}.txt`);
  });

  it("coordinator-killed", async () => {
    const tale = new Tale({ kill: { pass: 1, after: 1 } });
    tale.nodes("a b c d");
    tale.begin("B", { maxUnavailable: 2 });
    await expect(`the coordinator is killed between two decisions\n\n${tale.play().text}`).toMatchFileSnapshot(
      "../transcripts/coordinator-killed.txt",
    );
  });

  it("two-coordinators", async () => {
    const tale = new Tale({ isDoubled: true });
    tale.nodes("a b c d");
    tale.begin("B", { maxUnavailable: 2 });
    await expect(`two coordinators think they lead\n\n${tale.play().text}`).toMatchFileSnapshot("../transcripts/two-coordinators.txt");
    expect(tale.lostCommits).toBeGreaterThan(0);
    expect(tale.world.violations).toEqual([]);
  });
});

describe("I2, I3: the story ends the same", () => {
  it.each(tales)("%s, with reports shuffled and doubled and a decision after each", (_name, of) => {
    const end = told(of).end();
    for (const seed of of.isLong === true ? SEEDS.slice(0, 1) : SEEDS) expect(told(of, { seed }).end(), `seed ${seed}`).toEqual(end);
  });

  it.each(tales)("%s, with the coordinator killed at each decision", (_name, of) => {
    const tale = told(of);
    for (const variation of kills(tale.commits, of.isLong === true ? 4 : MAX_KILLS)) {
      expect(told(of, variation).end(), JSON.stringify(variation)).toEqual(tale.end());
    }
  });

  it.each(tales.filter(([, of]) => of.isLong !== true))("%s, with a second coordinator that lags behind", (_name, of) => {
    expect(told(of, { isDoubled: true }).end()).toEqual(told(of).end());
  });
});
