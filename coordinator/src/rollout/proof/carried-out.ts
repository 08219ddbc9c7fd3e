/** What the store and the nodes' records hold after decisions were committed: for laws about the next call. */
import type { Decision, FleetNode } from "../model.ts";
import type { Situation } from "./situations.ts";

/** @param decisions a prefix of what decide() said: the rest was never committed */
export function carriedOut(situation: Situation, decisions: readonly Decision[]): Situation {
  const changed = new Map<string, FleetNode>(situation.fleet.map((node) => [node.nodeId, node]));
  for (const decision of decisions) {
    if (!("nodeId" in decision)) continue;
    const node = changed.get(decision.nodeId);
    if (node !== undefined) changed.set(decision.nodeId, after(node, decision, situation));
  }
  return { ...situation, fleet: situation.fleet.map(({ nodeId }) => changed.get(nodeId)!) };
}

function after(node: FleetNode, decision: Decision, { input, now }: Situation): FleetNode {
  switch (decision.type) {
    case "move":
      return {
        ...node,
        desired: {
          planEpoch: 1,
          generation: Math.max(node.desired?.generation ?? 0, node.observed?.generation ?? 0) + 1,
          revision: input.revision,
          rollout: input.name,
          decidedAtMs: now,
          enforcedAtMs: undefined,
          isRejoinDue: false,
        },
      };
    case "settle":
      return { ...node, desired: { ...node.desired!, enforcedAtMs: now } };
    case "drain":
      return {
        ...node,
        maintenance: {
          owner: "Rollout",
          ownerName: input.name,
          wanted: "drain",
          phase: "waiting",
          message: "asked for",
          revisitAtMs: undefined,
        },
      };
    case "release":
      return { ...node, maintenance: node.maintenance && { ...node.maintenance, wanted: "release" } };
    case "wait":
    case "askGate":
    case "progress":
    case "askAgain":
      return node;
  }
}
