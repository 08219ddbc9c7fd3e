/** TEMPORARY: goes when rollouts have their maker. */
import { Refused, refuse } from "./refusal.ts";
import type { RolloutCalls } from "./rollout/rollout-calls.ts";

const notYet = (): never => {
  throw new Refused(refuse("NotReady", "not built yet"));
};
export const noRollouts: RolloutCalls = { control: notYet, approve: notYet, forecast: notYet };
