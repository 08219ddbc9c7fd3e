/** One node as decide() judges it, from what the store, the fleet view and its cluster know. Reads only. */
import { defaultGates, impactOf, type Rollout } from "@drover/api";
import { Impact } from "@drover/proto";
import type { Clusters } from "../cluster/clusters.ts";
import { plannedJoin } from "../cluster/planned-join.ts";
import { impactName, type MoveFrom } from "../dispatch/move-impact.ts";
import { lackingKinds, plannedProbes } from "../dispatch/planned-steps.ts";
import { type DisruptionOf, disruptionText } from "../fleet/disruption.ts";
import type { FleetView, ObservedNode } from "../fleet/fleet.ts";
import type { DesiredNode, MaintenanceRecord } from "../records.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { Member } from "../resources/membership.ts";
import { isCurrent } from "../resources/node-status.ts";
import { lackingText } from "../resources/view.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { gateOf } from "./gate.ts";
import type { FleetNode } from "./model.ts";
import type { Made, Prospects, Target } from "./prospects.ts";

export type ClusterEvidence = Pick<Clusters, "kubernetesNodeOf" | "readySinceMs" | "readAtMs"> & Partial<Pick<Clusters, "readSoon">>;

export interface SituationParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly stepKinds: (nodeId: string) => readonly string[] | undefined;
  readonly disruptionOf: DisruptionOf;
  /** undefined where no cluster is taken into care: nothing of Kubernetes is waited for. */
  readonly clusters: () => ClusterEvidence | undefined;
  readonly prospects: Prospects;
}

export function fleetNode(parts: SituationParts, member: Member, rollout: Rollout, target: Target): FleetNode {
  const { catalog, fleet, stepKinds, disruptionOf, prospects } = parts;
  const { nodeId, name, labels } = member;
  const desired = catalog.desired.get(nodeId)?.value;
  const observed = fleet.node(nodeId);
  const disruption = disruptionOf(nodeId);
  const rejoin = rejoinOf(catalog, nodeId);
  const isThere = desired?.revision === target.revision && !isRejoinDue(desired, rejoin);
  return {
    nodeId,
    name,
    labels,
    verdict: observed?.health.verdict ?? "unknown",
    verdictReason: observed?.health.reason ?? "NeverSeen",
    desired: desired && fleetDesired(desired, rejoin),
    observed: observed && fleetObserved(desired, observed, name),
    obstacle: obstacleOf(isThere ? desired : prospects.made(observed?.facts, target), stepKinds(nodeId)),
    disruption: disruption && disruptionText(disruption),
    impact: impactName(prospects.impact(moveFrom(desired, observed), target, rejoin, observed).bound),
    drift: driftOf(desired, observed),
    isDrainable: parts.clusters()?.kubernetesNodeOf(nodeId) !== undefined,
    maintenance: maintenanceOf(catalog.maintenances.get(nodeId)?.value),
    gate: gate(parts, nodeId, rollout, desired, observed),
  };
}

/** What the next plan of the node starts from. */
export function moveFrom(desired: DesiredNode | undefined, observed: ObservedNode | undefined): MoveFrom {
  return { before: desired, isBeforeEnforced: isEnforced(desired, observed), drift: driftImpact(observed) };
}

/** Whether what was decided last is what the node enforces. */
export function isEnforced(desired: DesiredNode | undefined, observed: ObservedNode | undefined): boolean {
  return desired !== undefined && observed?.outcome === "enforced" && isCurrent(desired, observed);
}

export function rejoinOf(catalog: Pick<Catalog, "nodeRecords">, nodeId: string): number {
  return catalog.nodeRecords.get(nodeId)?.value.rejoin ?? 0;
}

/** Whether the plan was made before it was last asked that the node join again. @param rejoin of its NodeRecord */
export function isRejoinDue(desired: DesiredNode | undefined, rejoin: number): boolean {
  return desired?.rejoin !== undefined && desired.rejoin < rejoin;
}

function fleetDesired(desired: DesiredNode, rejoin: number): FleetNode["desired"] {
  const { planEpoch, generation, revision, rollout, decidedAtMs, enforcedAtMs } = desired;
  return { planEpoch, generation, revision, rollout, decidedAtMs, enforcedAtMs, isRejoinDue: isRejoinDue(desired, rejoin) };
}

/** As often a change is tried anew when the machine booted before it was confirmed. More than that is no power cut, but the change. */
const MAX_INTERRUPTIONS = 2;
/** As agents call it. */
const INTERRUPTED = "BootedUnconfirmed";

/** I2: what was undone is never tried again under its generation; whether the coordinator gives a new one by itself. */
export function isInterrupted(desired: DesiredNode | undefined, observed: ObservedNode | undefined): boolean {
  if (desired === undefined || observed === undefined || !isCurrent(desired, observed)) return false;
  return observed.outcome === "rejected" && observed.reason === INTERRUPTED && (desired.interruptions ?? 0) < MAX_INTERRUPTIONS;
}

function fleetObserved(desired: DesiredNode | undefined, observed: ObservedNode, name: string): FleetNode["observed"] {
  const { planEpoch, observedGeneration, outcome, reason, failedStep } = observed;
  const wasInterrupted = isInterrupted(desired, observed);
  const isFailure = !wasInterrupted && (outcome === "failed" || outcome === "rejected" || outcome === "refused");
  return {
    planEpoch,
    generation: observedGeneration,
    outcome,
    reason,
    message: failedStep === "" ? observed.message : `step ${failedStep}: ${observed.message}`,
    fingerprint: isFailure ? fingerprintOf(failedStep, reason, observed.message, [name, observed.facts?.hostname ?? ""]) : undefined,
    isInterrupted: wasInterrupted,
  };
}

/** @param next what it would be given, or was given; @param kinds that its agent can do; undefined: it has not said yet */
function obstacleOf(next: DesiredNode | Made, kinds: readonly string[] | undefined): FleetNode["obstacle"] {
  const isGiven = "plan" in next;
  if (!isGiven && next.obstacle !== undefined) return { reason: "PlanNotPossible", message: next.obstacle };
  if (kinds === undefined) return undefined;
  const lacking = isGiven ? lackingKinds(next, kinds) : next.stepKinds.filter((kind) => !kinds.includes(kind));
  return lacking.length === 0 ? undefined : { reason: "Unsupported", message: lackingText(lacking) };
}

/** Open drift, of any impact. */
function driftImpact(observed: ObservedNode | undefined): Impact {
  let highest: Impact = Impact.IMPACT_UNSPECIFIED;
  for (const { isRepaired, changes } of observed?.drift ?? []) {
    if (!isRepaired) highest = Math.max(highest, impactOf(changes)) as Impact;
  }
  return highest;
}

/** I3: what an agent may mend by itself asks for no slot. */
export function driftOf(desired: DesiredNode | undefined, observed: ObservedNode | undefined): FleetNode["drift"] {
  const impact = driftImpact(observed);
  if (impact <= Impact.IMPACT_LIVE || observed === undefined || !isEnforced(desired, observed)) return undefined;
  const open = observed.drift.filter(({ isRepaired, changes }) => !isRepaired && impactOf(changes) > Impact.IMPACT_LIVE);
  return { impact: impactName(impact), sinceMs: Math.min(...open.map(({ sinceUnixMs }) => sinceUnixMs)) };
}

function maintenanceOf(record: MaintenanceRecord | undefined): FleetNode["maintenance"] {
  if (record === undefined) return undefined;
  const { owner, wanted, phase, message, revisitAtMs } = record;
  return { owner: owner.kind, ownerName: owner.name, wanted, phase, message, revisitAtMs };
}

function gate(
  { clusters }: SituationParts,
  nodeId: string,
  { spec }: Rollout,
  desired: DesiredNode | undefined,
  observed: ObservedNode | undefined,
): FleetNode["gate"] {
  const gates = spec.strategy.gates ?? defaultGates;
  const isInCluster = desired !== undefined && plannedJoin(desired) !== undefined;
  const evidence = gates.kubernetesReady && isInCluster ? clusters() : undefined;
  const kubernetes = evidence?.kubernetesNodeOf(nodeId);
  return gateOf({
    conditionTypes: [...(gates.conditions ?? []), ...(desired === undefined ? [] : plannedProbes(desired)).map((name) => `Probe-${name}`)],
    isEnforced: isEnforced(desired, observed),
    conditions: observed?.conditions ?? [],
    kubernetes: evidence && {
      ready: kubernetes?.ready,
      message: kubernetes === undefined ? "" : `${kubernetes.reason}: ${kubernetes.message}`,
      readAtMs: evidence.readAtMs(nodeId),
      sinceMs: evidence.readySinceMs(nodeId),
    },
    enforcedAtMs: observed?.enforcedAtUnixMs ?? 0,
  });
}
