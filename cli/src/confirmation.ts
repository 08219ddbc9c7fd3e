/** Asks a person before something that many machines feel; where nobody can be asked, nothing is done. */
import { CliError, exitCodes } from "./cli-error.ts";
import type { Session } from "./session.ts";

/** @param how the options by which a script says yes. @throws CliError when the answer is no, or there is none */
export async function confirmed(session: Session, question: string, how: string): Promise<void> {
  const answer = await session.ask(`${question} [y/N] `);
  if (answer === undefined) {
    const message = "nobody can be asked here, as this is no terminal; nothing was changed";
    throw new CliError(exitCodes.usage, message, `the same again with ${how}`);
  }
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliError(exitCodes.failed, "not confirmed; nothing was changed");
}

export function count(nodes: number, noun = "node"): string {
  return `${nodes} ${noun}${nodes === 1 ? "" : "s"}`;
}
