/** One agent per state directory. */
import { type InstanceLock, lockDirectory } from "@drover/lifecycle";

/** @returns isHeld false when another process of this network namespace works on the same directory */
export function lockStateDirectory(stateDir: string): Promise<InstanceLock> {
  return lockDirectory("drover-agent", stateDir);
}
