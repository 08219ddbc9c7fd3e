/** Gathers what a forecast is made from: the sets as they are or as manifests would make them, their nodes as last seen. Contacts nobody, writes nothing. */
import { matchesSelector, type NodeSet } from "@drover/api";
import type { PlanRolloutRequest, RolloutForecast } from "@drover/proto";
import type { Clock } from "@drover/lifecycle";
import type { FleetView } from "../fleet/fleet.ts";
import { Refused, refuse } from "../refusal.ts";
import { type AsIfApplied, asIfApplied } from "../resources/as-if-applied.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import type { Member } from "../resources/membership.ts";
import { restoredText } from "../resources/node-set-status.ts";
import { resolveSet } from "../resources/revisions.ts";
import type { View } from "../resources/view.ts";
import { type ForecastNode, forecastOf } from "./forecast.ts";
import { openingOf } from "./opening.ts";
import { Prospects, type Target } from "./prospects.ts";
import { waitsFor } from "./rollout-input.ts";
import { isEnforced, isRejoinDue, moveFrom, rejoinOf } from "./situation.ts";
import { resolveStrategy } from "./strategy.ts";

export interface ForecastParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly members: MembershipIndex;
  readonly view: View;
  readonly clock: Clock;
}

const MAX_MANIFESTS = 100;
const MAX_SETS = 100;

/** @throws Refused */
export function forecasts(parts: ForecastParts, { nodeSets, manifests }: PlanRolloutRequest): readonly RolloutForecast[] {
  if (manifests.length > MAX_MANIFESTS || nodeSets.length > MAX_SETS) {
    throw new Refused(refuse("InvalidRequest", `at most ${MAX_MANIFESTS} manifests and ${MAX_SETS} NodeSets are possible at once`));
  }
  if (manifests.length === 0 && nodeSets.length === 0) {
    throw new Refused(refuse("InvalidRequest", "name NodeSets, or give manifests: drover rollout plan SET... or -f FILE"));
  }
  const applied = asIfApplied(parts.catalog, manifests);
  const missing = nodeSets.find((name) => !applied.sets.has(name));
  if (missing !== undefined) {
    throw new Refused(refuse("NotFound", `there is no NodeSet ${JSON.stringify(missing)}; see: drover get nodesets`));
  }
  const asked = [...applied.sets.values()].filter((set) =>
    nodeSets.length === 0 ? applied.isTouched(set) : nodeSets.includes(set.metadata.name),
  );
  return asked.map((set) => forecastOfSet(parts, set, applied, new Prospects()));
}

function forecastOfSet(parts: ForecastParts, set: NodeSet, { content, windows }: AsIfApplied, prospects: Prospects): RolloutForecast {
  const { name } = set.metadata;
  const target = resolveSet(set, content);
  if (!target.ok) throw new Refused(refuse("PlanNotPossible", `NodeSet/${name}: ${target.message}`));
  const nodes = membersOf(parts, set).map((member) => forecastNode(parts, member, target, prospects));
  const strategy = resolveStrategy(set.spec.strategy, nodes.length);
  return forecastOf({ nodeSet: name, revision: target.revision, nodes, strategy, warnings: warningsOf(parts, set, windows) });
}

/** As the set's selector would have it: nodes that another set has stay there. */
function membersOf({ catalog, members, view }: ForecastParts, set: NodeSet): readonly Member[] {
  const { membersOf: byName, setOf } = members.current();
  const { name } = set.metadata;
  const stored = catalog.objects("NodeSet").get(name)?.value;
  if (stored !== undefined && JSON.stringify(stored.spec.selector) === JSON.stringify(set.spec.selector)) return byName.get(name) ?? [];
  return view.list("Node", undefined).flatMap(({ object, labels }) => {
    const nodeId = object.metadata.uid ?? "";
    const owner = setOf.get(nodeId)?.metadata.name;
    const isRevoked = catalog.nodeRecords.get(nodeId)?.value.revokedAtMs !== undefined;
    if (isRevoked || (owner !== undefined && owner !== name) || !matchesSelector(set.spec.selector, labels)) return [];
    return [{ nodeId, name: object.metadata.name, labels }];
  });
}

function forecastNode({ catalog, fleet }: ForecastParts, member: Member, target: Target, prospects: Prospects): ForecastNode {
  const { nodeId, name, labels } = member;
  const desired = catalog.desired.get(nodeId)?.value;
  const observed = fleet.node(nodeId);
  const rejoin = rejoinOf(catalog, nodeId);
  const isThere = desired?.revision === target.revision && isEnforced(desired, observed) && !isRejoinDue(desired, rejoin);
  return {
    nodeId,
    name,
    labels,
    verdict: observed?.health.verdict ?? "unknown",
    impact: isThere ? undefined : prospects.impact(moveFrom(desired, observed), target, rejoin, observed),
    obstacle: isThere ? undefined : prospects.made(observed?.facts, target).obstacle,
  };
}

function warningsOf({ catalog, clock }: ForecastParts, set: NodeSet, windows: AsIfApplied["windows"]): string[] {
  const { spec, metadata } = set;
  const opening = openingOf(spec.strategy.windows ?? [], windows, clock.now());
  const waiting = waitsFor(set, catalog);
  const opensAt = opening.isOpen || opening.opensAtMs === undefined ? "" : `; it opens at ${new Date(opening.opensAtMs).toISOString()}`;
  return [
    ...(catalog.restored === undefined ? [] : [restoredText(catalog.restored.value)]),
    ...(spec.revision === undefined
      ? []
      : [
          `NodeSet/${metadata.name} is held at revision ${spec.revision}; apply it without spec.revision to let it follow its profile again`,
        ]),
    ...(waiting === undefined ? [] : [`it would wait: ${waiting}`]),
    ...(opening.isOpen ? [] : [`it would wait: ${opening.message}${opensAt}`]),
  ];
}
