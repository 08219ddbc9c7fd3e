/** The words and options of `drover sim`. */
import { type Command, Option } from "commander";
import { simulate } from "./commands/sim.ts";
import { wholeNumber } from "./options.ts";
import type { Session } from "./session.ts";

interface Flags {
  readonly filename?: string;
  readonly agents?: number;
  readonly tier?: string;
  readonly seed?: number;
  readonly interval?: string;
  readonly changes?: string;
  readonly for?: string;
  readonly json?: string;
}

export function addSimWord(program: Command, session: () => Session): void {
  program
    .command("sim")
    .description("a simulated fleet against a coordinator of its own, on this machine: what a fleet of that size costs")
    .option("-f, --filename <path>", "the scenario, YAML; flags count more")
    .option("--agents <count>", "how many", wholeNumber)
    .addOption(new Option("--tier <tier>", "few connections for all, or a TLS socket each").choices(["logical", "socket"]))
    .option("--seed <number>", "the same seed: the same nodes, jitter and faults", wholeNumber)
    .option("--interval <duration>", "between heartbeats, until the coordinator tells otherwise")
    .option("--changes <share>", "agents that tell a change per minute, such as 1%")
    .option("--for <duration>", "how long it is measured")
    .option("--json <file>", "what it came to, as JSON; - for standard output")
    .action((flags: Flags) => {
      const { filename, json, interval, changes, ...same } = flags;
      return simulate(session(), filename, { ...same, heartbeatInterval: interval, changesPerMinute: changes }, json);
    });
}
