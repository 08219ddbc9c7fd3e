/** How well the coordinator sees the fleet, as operators are told. */
import type { GetCoordinatorStatusResponse } from "@drover/proto";
import { observerDoubt } from "../fleet/health.ts";
import type { Observer } from "../fleet/observer.ts";

export type CoordinatorStatus = Omit<GetCoordinatorStatusResponse, "coordinatorVersion">;

export function coordinatorStatus(observer: Pick<Observer, "state" | "census">): CoordinatorStatus {
  const state = observer.state();
  const census = observer.census();
  return {
    unhealthyReason: observerDoubt(state) ?? "",
    loopLagMs: state.loopLagMs,
    consumerLagMs: state.consumerLagMs,
    roundTripMs: census.roundTripMs,
    awakeMs: census.awakeMs,
    steadyMs: state.steadyMs,
    lapses: census.lapses,
    heartbeatIntervalMs: state.intervalMs,
    graceMs: state.graceMs,
    disruptedCells: [...census.disruptedCellNames],
    suspects: census.suspects,
  };
}
