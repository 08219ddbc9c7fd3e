/** Runs seeds one after the other in a process that stays warm: each message is a case, each answer what became of it. */
import { createHash } from "node:crypto";
import { scenarios } from "./scenario.ts";
import type { SeedCase, SeedEnd } from "./seed-pool.ts";
import { describeFailure, runSimulation } from "./simulation.ts";

process.on("message", (seedCase: SeedCase) => {
  void runOne(seedCase).then((end) => process.send!(end));
});

/** A case that throws ends this process: what it left behind would be blamed on the next. */
async function runOne({ seed, agents, scenario }: SeedCase): Promise<SeedEnd> {
  const options = { seed, agents, scenario: scenarios(agents).find(({ name }) => name === scenario)! };
  const before = process.cpuUsage();
  const result = await runSimulation(options);
  const { user, system } = process.cpuUsage(before);
  return {
    stats: result.stats,
    cpuSeconds: (user + system) / 1e6,
    transcriptDigest: createHash("sha256").update(result.transcript).digest("hex"),
    ...(result.violations.length === 0 ? {} : { failure: describeFailure(options, result) }),
  };
}
