/** Many seeds of fifty agents with every kind of fault: each must hold all invariants and end in sync. Each seed has a process of its own, as many at once as there are cores. */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import type { Campaign } from "../campaign/campaign.ts";
import { ailing, stormy, zoned } from "./scenario.ts";

const AGENTS = 50;
const SCENARIOS = [stormy, zoned, ailing];
const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
const DEADLINE_MS = 600_000;

export const simulationCampaign: Campaign = {
  name: "simulation",
  summary: `coordinator and ${AGENTS} agents on a virtual clock under faults from a seed, with zones and repairs in turn: all invariants hold, and all end in sync`,
  fullCount: 200,
  async run({ count, seed, say }) {
    let begun = 0;
    let failed = 0;
    const runSome = async (): Promise<void> => {
      while (begun < count) {
        const index = begun;
        begun += 1;
        const failure = await runOne((seed + index) >>> 0, SCENARIOS[index % SCENARIOS.length]!.name);
        if (failure === undefined) continue;
        failed += 1;
        say(failure);
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, runSome));
    return { passed: count - failed, failed };
  },
};

/** @returns what broke and how to run it again; undefined: nothing */
async function runOne(seed: number, scenario: string): Promise<string | undefined> {
  const options = ["--seed", String(seed), "--agents", String(AGENTS), "--scenario", scenario];
  const run = await execa(process.execPath, [MAIN, ...options], { reject: false, timeout: DEADLINE_MS, all: true });
  return run.exitCode === 0
    ? undefined
    : `${run.all}\n${run.timedOut ? `did not end within ${DEADLINE_MS / 1000} s: ` : ""}${options.join(" ")}`;
}
