/** TEMPORARY: goes when the two have their makers. */
import { Refused, refuse } from "./refusal.ts";
import type { RepairCalls } from "./repair/repair-calls.ts";
import type { RolloutCalls } from "./rollout/rollout-calls.ts";

const notYet = (): never => {
  throw new Refused(refuse("NotReady", "not built yet"));
};
export const noRollouts: RolloutCalls = { control: notYet, approve: notYet, forecast: notYet };
export const noRepairs: RepairCalls = { create: notYet, cancel: notYet, evidence: notYet };
