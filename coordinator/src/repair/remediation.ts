/** Which nodes are repaired without being asked, and why the others that are unhealthy are not. Pure. */
import type { Repair } from "@drover/api";
import type { RepairDecision, RepairNode, RepairSet, RepairsInput } from "./model.ts";
import type { Hindrance, Places } from "./places.ts";
import { hasEnded, millis } from "./standing.ts";

export const HOUR_OF_HEALTH_MS = 3_600_000;

/** @param newest of each node, by its id */
export function remediate(
  input: RepairsInput,
  places: Places,
  newest: ReadonlyMap<string, Repair>,
  now: number,
): readonly RepairDecision[] {
  const decisions: RepairDecision[] = [];
  for (const set of input.sets.values()) {
    const { remediation } = set;
    if (remediation === undefined) continue;
    for (const node of places.membersOf(set)) {
      const last = newest.get(node.nodeId);
      if (node.verdict !== "unhealthy" || (last !== undefined && !hasEnded(last))) continue;
      const dueMs = node.verdictSinceMs + remediation.unhealthyForMs;
      if (now < dueMs) {
        decisions.push({ type: "askAgain", atMs: dueMs });
        continue;
      }
      const hindrance = whyNot(node, set, remediation, places, last);
      const { nodeId, name } = node;
      if (hindrance === undefined) {
        places.take(nodeId);
        const reason = `unhealthy (${node.verdictReason}) since ${new Date(node.verdictSinceMs).toISOString()}`;
        decisions.push({ type: "create", nodeId, name, rungs: remediation.rungs, units: remediation.units, reason });
      } else {
        decisions.push({ type: "wait", repair: undefined, nodeId, name, ...hindrance });
      }
    }
    const { opening } = remediation;
    if (!opening.isOpen && opening.opensAtMs !== undefined) decisions.push({ type: "askAgain", atMs: opening.opensAtMs });
  }
  return decisions;
}

/** Whether an hour of health has gone by since the repair ended. */
export function isCleared(repair: Repair, node: RepairNode, now: number): boolean {
  const finishedMs = millis(repair.status?.finishedAt);
  if (finishedMs === undefined || repair.status?.clearedAt !== undefined || node.verdict !== "healthy") return false;
  return now - Math.max(finishedMs, node.verdictSinceMs) >= HOUR_OF_HEALTH_MS;
}

function whyNot(
  node: RepairNode,
  set: RepairSet,
  { opening, topologyKey }: NonNullable<RepairSet["remediation"]>,
  places: Places,
  last: Repair | undefined,
): Hindrance | undefined {
  if (node.disruption !== undefined) return { reason: "CellDisrupted", message: node.disruption };
  if (node.maintenance !== undefined) {
    return { reason: "UnderMaintenance", message: `${node.maintenance.owner} ${node.maintenance.ownerName} has it` };
  }
  if (node.rolloutHold !== undefined) return { reason: "RolloutHoldsNode", message: node.rolloutHold };
  if (last !== undefined && last.status?.clearedAt === undefined && (last.status?.attempts.length ?? 0) > 0) {
    const message = `Repair ${last.metadata.name} ended ${last.status?.phase}, and it has not been healthy for an hour since`;
    return { reason: "RecentlyRepaired", message };
  }
  if (!opening.isOpen) return { reason: opening.reason, message: opening.message };
  return places.whyNotUnasked(node, set, topologyKey) ?? places.whyNot(node, set);
}
