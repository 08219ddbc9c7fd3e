/** What operators ask of rollouts. Every call that changes something commits it together with its audit record. */
import type { ApproveRolloutRequest, ControlRolloutRequest, PlanRolloutRequest, RolloutForecast } from "@drover/proto";
import type { Seen } from "../resources/view.ts";

export interface RolloutCalls {
  /** pause, resume, promote, abort, undo, retry. @returns the Rollout, and the one that undo started or "". @throws Refused */
  control(request: ControlRolloutRequest, actor: string): Promise<{ readonly object: Seen; readonly started: string }>;
  /** @throws Refused Conflict when the digest is not that of the wave as it is now */
  approve(request: ApproveRolloutRequest, actor: string): Promise<Seen>;
  /** Contacts nobody and writes nothing. @throws Refused */
  forecast(request: PlanRolloutRequest): readonly RolloutForecast[];
}
