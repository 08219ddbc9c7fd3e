/** Nodes of other sets of the same cluster that are in change or unavailable: budgets of a topology key count them too. Reads only. */
import { type NodeSet, parseDurationMs, type Rollout } from "@drover/api";
import type { FleetView } from "../fleet/fleet.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { Membership } from "../resources/membership.ts";
import type { Elsewhere, ResolvedStrategy } from "./model.ts";
import { type Neighbour, neighbourStanding } from "./standing.ts";

export interface ElsewhereParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly membership: Membership;
  /** Of a set by name. */
  readonly rolloutOf: (setName: string) => Rollout | undefined;
}

const NOBODY: readonly Elsewhere[] = [];

/** Sets that name no cluster count as one. */
export function clusterScope({ spec }: NodeSet): string {
  return spec.cluster ?? "";
}

export function elsewhere(parts: ElsewhereParts, set: NodeSet, strategy: ResolvedStrategy, nowMs: number): readonly Elsewhere[] {
  if (strategy.budgets.length === 0 && strategy.exclusive === undefined) return NOBODY;
  const { catalog, membership, rolloutOf } = parts;
  const found: Elsewhere[] = [];
  for (const { value: other } of catalog.objects("NodeSet").values()) {
    if (other.metadata.name === set.metadata.name || clusterScope(other) !== clusterScope(set)) continue;
    const rollout = rolloutOf(other.metadata.name);
    const running = rollout && {
      name: rollout.metadata.name,
      soakMs: parseDurationMs(rollout.spec.strategy.soak),
      progressDeadlineMs: parseDurationMs(rollout.spec.strategy.progressDeadline),
    };
    for (const { nodeId, name, labels } of membership.membersOf.get(other.metadata.name) ?? []) {
      const standing = neighbourStanding(neighbourOf(parts, nodeId), running, nowMs);
      if (standing !== "available") found.push({ name, labels, isInChange: standing === "inChange" });
    }
  }
  return found.length === 0 ? NOBODY : found;
}

function neighbourOf({ catalog, fleet }: ElsewhereParts, nodeId: string): Neighbour {
  const observed = fleet.node(nodeId);
  const maintenance = catalog.maintenances.get(nodeId)?.value;
  return {
    verdict: observed?.health.verdict,
    maintenance: maintenance && { owner: maintenance.owner.kind, phase: maintenance.phase },
    desired: catalog.desired.get(nodeId)?.value,
    observed: observed && { planEpoch: observed.planEpoch, generation: observed.observedGeneration, outcome: observed.outcome },
  };
}
