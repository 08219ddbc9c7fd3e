/** A MaintenanceRecord as people see it: condition Maintenance of the Node. Pure. */
import type { Condition } from "@drover/api";
import type { MaintenanceRecord } from "../records.ts";
import { timestamp } from "../resources/node-status.ts";

const REASONS: { readonly [P in MaintenanceRecord["phase"]]: string } = {
  waiting: "Waiting",
  cordoned: "Cordoned",
  draining: "Draining",
  drained: "Drained",
  timedOut: "DrainTimedOut",
};

export function maintenanceCondition({ owner, wanted, phase, message, startedAtMs }: MaintenanceRecord): Condition {
  const whose = owner.kind === "Operator" ? `operator ${owner.name}` : `${owner.kind}/${owner.name}`;
  return {
    type: "Maintenance",
    status: "True",
    reason: wanted === "release" ? "Releasing" : REASONS[phase],
    message: message === "" ? `for ${whose}` : `for ${whose}: ${message}`,
    lastTransitionTime: timestamp(startedAtMs),
  };
}
