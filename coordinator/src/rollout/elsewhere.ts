/** Nodes of other sets of the same cluster that are in change or unavailable: budgets of a topology key count them too. Reads only. */
import { type NodeSet, parseDurationMs, type Rollout } from "@drover/api";
import type { FleetView } from "../fleet/fleet.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { Membership } from "../resources/membership.ts";
import type { Elsewhere, ResolvedStrategy } from "./model.ts";
import { isEnforced } from "./situation.ts";

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
    for (const { nodeId, name, labels } of membership.membersOf.get(other.metadata.name) ?? []) {
      if (isCounted(parts, nodeId, rollout, nowMs)) found.push({ name, labels });
    }
  }
  return found.length === 0 ? NOBODY : found;
}

function isCounted({ catalog, fleet }: ElsewhereParts, nodeId: string, rollout: Rollout | undefined, nowMs: number): boolean {
  const observed = fleet.node(nodeId);
  if (observed?.health.verdict !== "healthy" || catalog.maintenances.has(nodeId)) return true;
  const desired = catalog.desired.get(nodeId)?.value;
  if (desired === undefined) return false;
  if (!isEnforced(desired, observed)) return true;
  // What a superseded rollout did is proved and soaks no more.
  if (rollout === undefined || desired.rollout !== rollout.metadata.name) return false;
  return desired.enforcedAtMs === undefined || nowMs < desired.enforcedAtMs + parseDurationMs(rollout.spec.strategy.soak);
}
