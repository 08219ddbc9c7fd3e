/**
 * What happens next with every Repair, which nodes are repaired without being asked, and why each waits. Pure: the same input gives the same decisions, so
 * whoever calls may crash, restart and ask again. What is written, sent or logged is the controller's.
 */
import type { Repair } from "@drover/api";
import { type LadderContext, nextOf } from "./ladder.ts";
import type { RepairDecision, RepairNode, RepairsInput } from "./model.ts";
import { type Hindrance, Places } from "./places.ts";
import { isCleared, remediate } from "./remediation.ts";
import { byAge, hasEnded, millis, needsPlace } from "./standing.ts";

/** Nothing is done to a node whose health is unknown or that is in a disrupted cell, whoever asked. Older Repairs come first. */
export function decideRepairs(input: RepairsInput, now: number): readonly RepairDecision[] {
  const places = new Places(input);
  const nodes = new Map(input.nodes.map((node) => [node.nodeId, node]));
  const repairs = [...input.repairs].sort(byAge);
  const decisions: RepairDecision[] = [];
  const busy = new Set<string>();
  for (const repair of repairs) {
    if (hasEnded(repair)) continue;
    const node = nodes.get(repair.spec.node);
    const set = node?.set === undefined ? undefined : input.sets.get(node.set);
    decisions.push(...nextOfAny(repair, node, busy, { places, set, now }));
    busy.add(repair.spec.node);
  }
  const newest = newestOf(repairs);
  for (const node of input.nodes) {
    const last = newest.get(node.nodeId);
    if (last === undefined || !hasEnded(last) || !isCleared(last, node, now)) continue;
    decisions.push({ type: "clear", repair: last.metadata.name, nodeId: node.nodeId, name: node.name });
  }
  decisions.push(...remediate(input, places, newest, now), ...leftPlaces(input));
  return decisions;
}

function nextOfAny(
  repair: Repair,
  node: RepairNode | undefined,
  busy: ReadonlySet<string>,
  context: LadderContext,
): readonly RepairDecision[] {
  const of = { repair: repair.metadata.name, nodeId: repair.spec.node, name: repair.spec.nodeName };
  if (node === undefined) {
    context.places.giveBack(repair.spec.node);
    return [{ type: "end", ...of, phase: "Failed", reason: "NodeGone", message: "the node was deleted or revoked" }];
  }
  if ((repair.status?.attempts.length ?? 0) > 0) return nextOf(repair, node, context);
  if (repair.spec.cancelled === true) {
    return [{ type: "end", ...of, phase: "Cancelled", reason: "Cancelled", message: "cancelled before it began" }];
  }
  const hindrance = busy.has(node.nodeId)
    ? ({ reason: "UnderMaintenance", message: "another Repair of it has not ended" } as const)
    : whyNotBegin(repair, node, context);
  if (hindrance !== undefined) return [{ type: "wait", ...of, ...hindrance }];
  if (needsPlace(repair)) context.places.take(node.nodeId);
  return [{ type: "begin", ...of, rung: repair.spec.rungs[0]! }];
}

/** An operator's drain or cordon is no hindrance to an operator's repair: the node is in change already. */
function whyNotBegin(repair: Repair, node: RepairNode, { places, set }: LadderContext): Hindrance | undefined {
  if (!needsPlace(repair)) return undefined;
  if (node.disruption !== undefined) return { reason: "CellDisrupted", message: node.disruption };
  if (node.verdict === "unknown") {
    return { reason: "NodeUnknown", message: `its health is unknown (${node.verdictReason}), and nothing is done to such a node` };
  }
  const { maintenance } = node;
  if (maintenance !== undefined && (maintenance.owner !== "Operator" || maintenance.wanted === "release")) {
    return { reason: "UnderMaintenance", message: `${maintenance.owner} ${maintenance.ownerName} has it` };
  }
  if (node.rolloutHold !== undefined) return { reason: "RolloutHoldsNode", message: node.rolloutHold };
  return places.whyNot(node, set);
}

/** Records of Repairs that have ended or are gone: whoever committed the end gives its place back in the same commit, so these are left from elsewhere. */
function leftPlaces({ repairs, nodes }: RepairsInput): RepairDecision[] {
  const open = new Set(repairs.filter((repair) => !hasEnded(repair)).map(({ metadata }) => metadata.name));
  return nodes.flatMap(({ nodeId, name, maintenance }): RepairDecision[] => {
    if (maintenance?.owner !== "Repair" || maintenance.wanted === "release" || open.has(maintenance.ownerName)) return [];
    return [{ type: "release", nodeId, name, owner: maintenance.ownerName }];
  });
}

/** Of each node: the one that has not ended, else the one that ended last. */
function newestOf(repairs: readonly Repair[]): ReadonlyMap<string, Repair> {
  const newest = new Map<string, Repair>();
  const rank = (repair: Repair): number => (hasEnded(repair) ? (millis(repair.status?.finishedAt) ?? 0) : Infinity);
  for (const repair of repairs) {
    const held = newest.get(repair.spec.node);
    if (held === undefined || rank(repair) >= rank(held)) newest.set(repair.spec.node, repair);
  }
  return newest;
}
