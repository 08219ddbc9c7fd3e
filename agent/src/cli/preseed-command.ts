/** `drover-agent preseed`: what a boot does before anything reads the files of a change that was not confirmed. */
import { stat } from "node:fs/promises";
import { systemClock } from "@drover/lifecycle";
import { preseed } from "../reconcile/preseed.ts";
import { FileStateDirectory } from "../state/index.ts";
import { lockStateDirectory } from "./instance-lock.ts";
import { loadConfig, USAGE } from "./load-config.ts";
import { machineAt } from "./machine.ts";
import type { ConfigOption, Output } from "./program.ts";

/** 0: nothing to put back, or all is; 1: a file could not be put back, and is tried again by the agent's own undo. */
export async function preseedCommand(options: ConfigOption, output: Output): Promise<number> {
  const config = await loadConfig(options.config, output);
  if (config === undefined) return USAGE;
  // A machine that never ran its agent has nothing, and must not be given a state directory by this.
  if ((await stat(config.stateDir).catch(() => undefined)) === undefined) return 0;
  const lock = await lockStateDirectory(config.stateDir);
  if (!lock.isHeld) {
    output.err(`an agent works on ${config.stateDir} already; it puts back itself what was not confirmed\n`);
    return 1;
  }
  const { host } = machineAt(undefined, systemClock, config.containerdAddress);
  try {
    const paths = await preseed(await FileStateDirectory.open(config.stateDir), host);
    if (paths !== undefined) output.out(`not confirmed before the boot, put back: ${paths.join(", ")}\n`);
    return 0;
  } catch (error) {
    output.err(`${(error as Error).message}; next: look at try.json in ${config.stateDir} and at the disk\n`);
    return 1;
  } finally {
    host.containerd.close();
    await lock.release();
  }
}
