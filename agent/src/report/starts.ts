/** What is counted and remembered over starts: how many there were, and for which boot the facts were told. */
import type { StateDirectory } from "../ports.ts";

const STARTS = "starts";
const FACTS = "facts-told";

/** @returns how often the agent has started, this time included */
export async function countStart(state: StateDirectory): Promise<number> {
  const before = Number((await state.readFile(STARTS))?.toString() ?? "0");
  const count = (Number.isSafeInteger(before) ? before : 0) + 1;
  await state.writeFile(STARTS, Buffer.from(String(count)));
  return count;
}

/** Facts are told once per boot, and again by another version of the agent, which may know more. */
export async function factsAreNews(state: StateDirectory, bootId: string, agentVersion: string): Promise<boolean> {
  return (await state.readFile(FACTS))?.toString() !== `${bootId} ${agentVersion}`;
}

export async function rememberFacts(state: StateDirectory, bootId: string, agentVersion: string): Promise<void> {
  await state.writeFile(FACTS, Buffer.from(`${bootId} ${agentVersion}`));
}
