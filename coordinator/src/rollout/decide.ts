/**
 * Which nodes of a NodeSet move now, which are drained or let go, which wait and why, and how the rollout stands. Pure: the same input gives the same
 * decisions, so whoever calls may crash, restart and ask again. What is written, sent or logged is the controller's.
 */
import { Judgement } from "./judgement.ts";
import type { Decision, Elsewhere, Fleet, RolloutInput } from "./model.ts";
import { RollCall, rollCallOf } from "./roll-call.ts";

/**
 * A FleetNode that changed must be another object than before: what follows from a node alone is remembered by identity.
 * @param elsewhere nodes of other sets of the cluster that are in change or unavailable
 * @param now Unix milliseconds
 */
export function decide(input: RolloutInput, fleet: Fleet, elsewhere: readonly Elsewhere[], now: number): readonly Decision[] {
  return new Judgement(input, rollCallOf(input, fleet, now), elsewhere, now).decisions();
}

/** The same, remembering nothing. */
export function decideAfresh(input: RolloutInput, fleet: Fleet, elsewhere: readonly Elsewhere[], now: number): readonly Decision[] {
  return new Judgement(input, new RollCall(input, fleet, now), elsewhere, now).decisions();
}
