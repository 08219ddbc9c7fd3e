/** One fault done to a fleet of this process, whose agents are only some of all. */
import type { Fault } from "../fleet-control.ts";
import type { AgentFleet } from "./agent-fleet.ts";

/** @param first index of the fleet's first agent; others than its own are passed over */
export function steer(fleet: AgentFleet, first: number, fault: Fault, onClone: (clone: number, original: number) => void): void {
  const count = fleet.columns.agents;
  const agents = fault.agents.filter((index) => index >= first && index < first + count).map((index) => index - first);
  if (agents.length === 0) return;
  switch (fault.do) {
    case "silence":
      return fleet.silence(agents);
    case "revive":
      return fleet.revive(agents);
    case "duplicate":
      return fleet.duplicate(agents, onClone);
    case "reportDelta":
      return fleet.reportDelta(agents);
    case "lag":
      return fleet.lag(agents, fault.ms);
    case "skew":
      return fleet.skew(agents, fault.ms);
    case "slowSteps":
      return fleet.slowSteps(agents, fault.ms);
    case "beatEvery":
      return fleet.beatEvery(fault.ms);
    case "failSteps":
      return fleet.failSteps(agents, fault.failure);
  }
}
