/** `drover sim`: runs a scenario and prints what it came to. The simulator brings a coordinator along, so it is loaded only when it is asked for. */
import { writeFileSync } from "node:fs";
import { formatProblem } from "@drover/api";
import { CliError, exitCodes } from "../cli-error.ts";
import type { Session } from "../session.ts";

/** @param json where the outcome goes besides; "-": instead of the table, to standard output */
export async function simulate(
  session: Session,
  filename: string | undefined,
  flags: Readonly<Record<string, unknown>>,
  json: string | undefined,
): Promise<void> {
  const { readScenario, renderOutcome, runScenario } = await import("@drover/sim");
  const reading = readScenario(filename, flags);
  if (!reading.ok) {
    const problems = reading.problems.map(formatProblem).join("\n");
    throw new CliError(exitCodes.usage, `the scenario is refused\n${problems}`, "drover sim --agents 1000, or see docs/performance.md");
  }
  const isQuiet = json === "-";
  const outcome = await runScenario(reading.scenario, {
    say: (line) => (isQuiet ? undefined : session.print(line)),
    showLive: (line) => (isQuiet ? undefined : session.showLive(line)),
    signal: session.signal,
  }).catch((error: unknown) => {
    if (session.signal.aborted) throw new CliError(exitCodes.failed, "stopped; nothing is left behind");
    throw error;
  });
  const text = `${JSON.stringify(outcome, undefined, 2)}\n`;
  if (isQuiet) return session.print(text.trimEnd());
  for (const line of renderOutcome(outcome)) session.print(line);
  if (json !== undefined) writeFileSync(json, text);
}
