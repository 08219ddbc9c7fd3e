/** Gathers what decideRepairs() judges: the nodes that repairs and remediation are about, their sets and control planes. Reads only. */
import { type NodeSet, parseDurationMs, type Repair } from "@drover/api";
import type { Clock } from "@drover/lifecycle";
import { plannedJoin } from "../cluster/planned-join.ts";
import type { Clusters } from "../cluster/clusters.ts";
import { type DisruptionOf, disruptionText } from "../fleet/disruption.ts";
import type { FleetView } from "../fleet/fleet.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import { labelsOf, type Member } from "../resources/membership.ts";
import type { FleetMaintenance } from "../rollout/model.ts";
import { openingOf } from "../rollout/opening.ts";
import { resolveStrategy } from "../rollout/strategy.ts";
import { controlPlanesOf, type ControlPlaneFinding } from "./control-planes.ts";
import type { RepairNode, RepairSet, RepairsInput } from "./model.ts";
import { rolloutStanding } from "./rollout-standing.ts";
import { hasEnded } from "./standing.ts";
import type { VerdictHistory } from "./verdict-history.ts";

export interface SituationParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly members: MembershipIndex;
  readonly clock: Clock;
  readonly disruptionOf: DisruptionOf;
  readonly verdicts: Pick<VerdictHistory, "sinceMs">;
  readonly clusters: () => Pick<Clusters, "kubernetesNodeOf" | "readAtMs" | "controlPlanesOf"> | undefined;
}

/** For nodes that no set selects. */
const NO_STRATEGY = { progressDeadlineMs: 600_000, soakMs: 0 };

export function repairsInput(parts: SituationParts): RepairsInput {
  const { catalog, members } = parts;
  const repairs = [...catalog.objects("Repair").values()].map(({ value }) => value);
  const named = namedNodes(parts, repairs);
  const sets = new Map<string, RepairSet>();
  const listed = new Map<string, Member>();
  for (const set of concernedSets(parts, named)) {
    const own = members.current().membersOf.get(set.metadata.name) ?? [];
    sets.set(set.metadata.name, repairSet(parts, set, own.length));
    for (const member of own) listed.set(member.nodeId, member);
  }
  for (const nodeId of named) {
    const member = memberOf(parts, nodeId);
    if (member !== undefined) listed.set(nodeId, member);
  }
  const planes = controlPlanesOf(parts, (nodeId) => memberOf(parts, nodeId), listed);
  for (const member of planes.members) listed.set(member.nodeId, member);
  return {
    repairs,
    sets,
    nodes: [...listed.values()].map((member) => repairNode(parts, member, planes, sets)),
    fleetSize: fleetSizeIn(catalog),
    controlPlanes: planes.byScope,
  };
}

function fleetSizeIn({ nodeRecords }: Catalog): number {
  let size = 0;
  for (const nodeId of nodeRecords.keys()) if (nodeRecords.field(nodeId, "revokedAtMs") === undefined) size += 1;
  return size;
}

/** Nodes that a Repair, or the record of one, is about. */
function namedNodes({ catalog }: SituationParts, repairs: readonly Repair[]): ReadonlySet<string> {
  const open = repairs.filter((repair) => !hasEnded(repair) || repair.status?.clearedAt === undefined);
  const held = [...catalog.maintenances.values()].filter(({ value }) => value.owner.kind === "Repair");
  return new Set([...open.map(({ spec }) => spec.node), ...held.map(({ value }) => value.nodeId)]);
}

/** Sets that are remediated, those of the nodes named, and those in the same clusters, whose nodes count in the same budgets. */
function concernedSets({ catalog, members }: SituationParts, named: ReadonlySet<string>): readonly NodeSet[] {
  const sets = [...catalog.objects("NodeSet").values()].map(({ value }) => value);
  const { setOf } = members.current();
  const about = new Set([...named].map((nodeId) => setOf.get(nodeId)?.metadata.name));
  const direct = sets.filter(({ metadata, spec }) => about.has(metadata.name) || spec.remediation?.enabled === true);
  const clusters = new Set(direct.flatMap(({ spec }) => spec.cluster ?? []));
  return sets.filter((set) => direct.includes(set) || (set.spec.cluster !== undefined && clusters.has(set.spec.cluster)));
}

/** undefined: it was deleted or revoked. */
function memberOf({ catalog, fleet }: SituationParts, nodeId: string): Member | undefined {
  const record = catalog.nodeRecords.get(nodeId)?.value;
  const node = record === undefined ? undefined : catalog.objects("Node").get(record.name)?.value;
  if (record === undefined || record.revokedAtMs !== undefined || node === undefined) return undefined;
  return { nodeId, name: record.name, labels: labelsOf(node, fleet.node(nodeId)?.facts) };
}

function repairSet({ catalog, clock }: SituationParts, { metadata, spec }: NodeSet, size: number): RepairSet {
  const { remediation, strategy } = spec;
  const windows = new Map([...catalog.objects("MaintenanceWindow")].map(([name, { value }]) => [name, value]));
  return {
    name: metadata.name,
    cluster: spec.cluster ?? "",
    size,
    strategy: resolveStrategy(strategy, size),
    allowControlPlaneDowntime: remediation?.allowControlPlaneDowntime === true,
    remediation:
      remediation?.enabled === true
        ? {
            unhealthyForMs: parseDurationMs(remediation.unhealthyFor),
            rungs: remediation.rungs,
            units: remediation.units,
            topologyKey: remediation.topologyKey,
            opening: openingOf(strategy.windows ?? [], windows, clock.now()),
          }
        : undefined,
  };
}

function repairNode(
  parts: SituationParts,
  { nodeId, name, labels }: Member,
  planes: ControlPlaneFinding,
  sets: RepairsInput["sets"],
): RepairNode {
  const { catalog, fleet, members, clock } = parts;
  const now = clock.now();
  const observed = fleet.node(nodeId);
  const desired = catalog.desired.get(nodeId)?.value;
  const set = members.current().setOf.get(nodeId);
  const strategy = set === undefined ? NO_STRATEGY : (sets.get(set.metadata.name)?.strategy ?? resolveStrategy(set.spec.strategy, 1));
  const rollout = rolloutStanding(desired, observed, strategy, now);
  const maintenance = maintenanceOf(catalog, nodeId);
  const disruption = parts.disruptionOf(nodeId);
  const clusters = parts.clusters();
  const kubernetes = clusters?.kubernetesNodeOf(nodeId);
  const verdict = observed?.health.verdict ?? "unknown";
  const beatAtMs = observed?.lastBeatAtMs;
  return {
    nodeId,
    name,
    labels,
    set: set?.metadata.name,
    cluster: set?.spec.cluster ?? "",
    verdict,
    verdictReason: observed?.health.reason ?? "NeverSeen",
    verdictSinceMs: parts.verdicts.sinceMs(nodeId) ?? now,
    disruption: disruption && disruptionText(disruption),
    isInChange: rollout.isInChange || maintenance !== undefined,
    isUnavailable: rollout.isInChange || rollout.isFailed || maintenance !== undefined || verdict !== "healthy",
    rolloutHold: rollout.hold,
    maintenance,
    controlPlaneScope: planes.scopeOf.get(nodeId),
    kubernetes: kubernetes && { ready: kubernetes.ready, readAtMs: clusters?.readAtMs(nodeId) },
    lastBeatAtMs: beatAtMs === undefined ? undefined : now - (clock.monotonicMs() - beatAtMs),
    bootId: observed?.facts?.bootId ?? "",
    plan: desired && {
      generation: desired.generation,
      outcome: rollout.outcome,
      message: `${rollout.outcome}: ${observed?.reason ?? ""}: ${observed?.message ?? ""}`,
      hasOpenDrift: observed?.drift.some(({ isRepaired }) => !isRepaired) === true,
      isJoining: plannedJoin(desired) !== undefined,
    },
  };
}

function maintenanceOf(catalog: Catalog, nodeId: string): FleetMaintenance | undefined {
  const record = catalog.maintenances.get(nodeId)?.value;
  if (record === undefined) return undefined;
  const { owner, wanted, phase, message, revisitAtMs } = record;
  return { owner: owner.kind, ownerName: owner.name, wanted, phase, message, revisitAtMs };
}
