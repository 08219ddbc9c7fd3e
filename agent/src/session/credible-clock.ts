/** A machine whose clock is before the agent's build date does not know the time: certificates mean nothing to it yet. */
import { type Clock, sleep } from "@drover/lifecycle";

const LOOK_AGAIN_MS = 2000;

/** Resolves as soon as the clock is at or after buildDateMs. @param onWait called once when it has to wait */
export async function untilClockCredible(clock: Clock, buildDateMs: number, onWait: () => void, signal: AbortSignal): Promise<void> {
  if (clock.now() >= buildDateMs) return;
  onWait();
  while (clock.now() < buildDateMs) await sleep(clock, LOOK_AGAIN_MS, signal);
}
