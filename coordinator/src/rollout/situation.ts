/** Gathers what decide() judges: one set's nodes as the store and the fleet view know them. Reads only. */
import { contentDigest, parseDurationMs, resolveMaxUnavailable, type Rollout } from "@drover/api";
import { lackingKinds } from "../dispatch/planned-steps.ts";
import type { FleetView } from "../fleet/fleet.ts";
import { type DisruptionOf, disruptionText } from "../fleet/disruption.ts";
import type { DesiredNode } from "../records.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { Member } from "../resources/membership.ts";
import { lackingText } from "../resources/view.ts";
import type { FleetNode, RolloutInput } from "./model.ts";

export function rolloutInput(rollout: Rollout, nodeCount: number): RolloutInput {
  const { strategy, revision } = rollout.spec;
  return {
    name: rollout.metadata.name,
    revision,
    strategy: {
      digest: contentDigest(strategy),
      maxUnavailable: resolveMaxUnavailable(strategy.maxUnavailable, nodeCount),
      isAll: false,
      soakMs: parseDurationMs(strategy.soak),
      progressDeadlineMs: parseDurationMs(strategy.progressDeadline),
      failureBudget: strategy.failureBudget,
      canary: undefined,
      waves: [],
      budgets: [],
      exclusive: undefined,
      order: undefined,
      approvals: new Set(),
      drain: { from: "never", deadlineMs: 0, revisitAfterMs: 0 },
      hasWebhook: false,
    },
    isPaused: false,
    isAborted: false,
    promotedWave: 0,
    approvals: new Map(),
    confirmedNodes: undefined,
    retriedAtMs: undefined,
    opening: { isOpen: true, closesAtMs: undefined },
    waitsFor: undefined,
    waveGates: new Map(),
    knownFingerprints: new Set(),
  };
}

export interface SituationParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly stepKinds: (nodeId: string) => readonly string[] | undefined;
  /** Why the revision cannot be made for a node; undefined: it can. */
  readonly obstacle: (nodeId: string) => string | undefined;
  readonly disruptionOf: DisruptionOf;
}

export function fleetNode({ catalog, fleet, stepKinds, obstacle, disruptionOf }: SituationParts, member: Member): FleetNode {
  const { nodeId, name } = member;
  const desired = catalog.desired.get(nodeId)?.value;
  const observed = fleet.node(nodeId);
  const disruption = disruptionOf(nodeId);
  const rejoin = catalog.nodeRecords.get(nodeId)?.value.rejoin ?? 0;
  return {
    nodeId,
    name,
    labels: {},
    verdict: observed?.health.verdict ?? "unknown",
    verdictReason: observed?.health.reason ?? "NeverSeen",
    desired: desired && fleetDesired(desired, rejoin),
    observed: observed && {
      planEpoch: observed.planEpoch,
      generation: observed.observedGeneration,
      outcome: observed.outcome,
      reason: observed.reason,
      message: observed.failedStep === "" ? observed.message : `step ${observed.failedStep}: ${observed.message}`,
      fingerprint: undefined,
    },
    obstacle: unsupported(desired, stepKinds(nodeId)) ?? impossible(obstacle(nodeId)),
    disruption: disruption && disruptionText(disruption),
    impact: "live",
    drift: undefined,
    isDrainable: false,
    maintenance: undefined,
    gate: { state: "passed", message: "" },
  };
}

function fleetDesired(desired: DesiredNode, rejoin: number): FleetNode["desired"] {
  const { planEpoch, generation, revision, rollout, decidedAtMs, enforcedAtMs } = desired;
  return { planEpoch, generation, revision, rollout, decidedAtMs, enforcedAtMs, isRejoinDue: isRejoinDue(desired, rejoin) };
}

/** Whether the plan was made before it was last asked that the node join again. @param rejoin of its NodeRecord */
export function isRejoinDue(desired: DesiredNode | undefined, rejoin: number): boolean {
  return desired?.rejoin !== undefined && desired.rejoin < rejoin;
}

function unsupported(desired: DesiredNode | undefined, kinds: readonly string[] | undefined): FleetNode["obstacle"] {
  const lacking = desired === undefined || kinds === undefined ? [] : lackingKinds(desired, kinds);
  return lacking.length === 0 ? undefined : { reason: "Unsupported", message: lackingText(lacking), isUnsent: true };
}

function impossible(message: string | undefined): FleetNode["obstacle"] {
  return message === undefined ? undefined : { reason: "PlanNotPossible", message, isUnsent: false };
}
