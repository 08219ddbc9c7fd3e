/** Whether a killed agent left something half done on the disk: in its state, and where it writes for others. */
import { cp, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileStateDirectory } from "@drover/agent";
import type { LightMachine } from "../../testbed/light/light-machine.ts";
import { temporaryFiles } from "../machine-traces.ts";

/** @returns what is torn; empty: nothing */
export async function tornFiles(machine: LightMachine, stateDirectory: string): Promise<readonly string[]> {
  return [...(await temporaryFiles(machine)), ...(await unreadableState(stateDirectory))];
}

/** A copy is opened as the agent opens it: opening the original would cut torn tails away. */
async function unreadableState(stateDirectory: string): Promise<readonly string[]> {
  const copy = await mkdtemp(join(tmpdir(), "drover-state-"));
  const problems: string[] = [];
  try {
    await cp(stateDirectory, copy, { recursive: true, filter: (source) => source === stateDirectory || /\.(json|log)$/.test(source) });
    const files = await readdir(copy);
    for (const file of files.filter((name) => name.endsWith(".json"))) {
      try {
        JSON.parse(await readFile(join(copy, file), "utf8"));
      } catch (error) {
        problems.push(`${file} does not parse: ${(error as Error).message}`);
      }
    }
    const state = await FileStateDirectory.open(copy);
    const logs = new Set(files.flatMap((name) => /^(.+)\.\d{16}\.log$/.exec(name)?.[1] ?? []));
    if (!logs.has("journal")) problems.push("there is no journal");
    for (const name of logs) {
      try {
        const log = await state.openLog(name);
        for (const record of log.records) if (name === "journal") JSON.parse(record.payload.toString());
        await log.close();
      } catch (error) {
        problems.push(`log ${name} does not open: ${(error as Error).message}`);
      }
    }
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
  return problems;
}
