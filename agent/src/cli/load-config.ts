/** Configuration for one command: printed problems, and the exit code that goes with them. */
import type { AgentConfig } from "../config/agent-config.ts";
import { readConfig } from "../config/read-config.ts";
import type { Output } from "./program.ts";

export const USAGE = 2;

/** undefined: it was not usable, and the problems are printed. */
export async function loadConfig(path: string, output: Output): Promise<AgentConfig | undefined> {
  const reading = await readConfig(path);
  if (reading.isValid) return reading.config;
  output.err(`${reading.problems.join("\n")}\n`);
  return undefined;
}
