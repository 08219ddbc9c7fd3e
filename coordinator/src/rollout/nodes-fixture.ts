/** Nodes and rollouts with everything calm, to be changed in one respect each: for tests of decide()'s parts only. */
import type { FleetDesired, FleetMaintenance, FleetNode, FleetObserved, ResolvedStrategy, RolloutInput } from "./model.ts";

/** Of all tables: long after everything that was decided at DECIDED_MS, but within the hour of a disruption slot. */
export const NOW_MS = 10_000_000;
export const DECIDED_MS = NOW_MS - 100_000;
export const PROGRESS_DEADLINE_MS = 600_000;

export function strategyOf(change: Partial<ResolvedStrategy> = {}): ResolvedStrategy {
  return {
    digest: "plain",
    maxUnavailable: 1,
    isAll: false,
    soakMs: 0,
    progressDeadlineMs: PROGRESS_DEADLINE_MS,
    failureBudget: 0,
    canary: undefined,
    waves: [],
    budgets: [],
    exclusive: undefined,
    order: undefined,
    approvals: new Set(),
    drain: { from: "drain", deadlineMs: 600_000, revisitAfterMs: 300_000 },
    hasWebhook: false,
    ...change,
  };
}

export function rolloutOf(change: Partial<RolloutInput> = {}, strategy: Partial<ResolvedStrategy> = {}): RolloutInput {
  return {
    name: "web-1",
    revision: "A",
    strategy: strategyOf(strategy),
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
    ...change,
  };
}

export function nodeOf(change: Partial<FleetNode> = {}): FleetNode {
  const name = change.name ?? "a";
  return {
    nodeId: `id-${name}`,
    name,
    labels: {},
    verdict: "healthy",
    verdictReason: "Beating",
    desired: undefined,
    observed: undefined,
    obstacle: undefined,
    disruption: undefined,
    impact: "live",
    drift: undefined,
    isDrainable: false,
    maintenance: undefined,
    gate: { state: "passed", message: "" },
    ...change,
  };
}

export function desiredOf(change: Partial<FleetDesired> = {}): FleetDesired {
  return {
    planEpoch: 1,
    generation: 7,
    revision: "A",
    rollout: "web-1",
    decidedAtMs: DECIDED_MS,
    enforcedAtMs: undefined,
    isRejoinDue: false,
    ...change,
  };
}

export function observedOf(outcome: FleetObserved["outcome"], change: Partial<FleetObserved> = {}): FleetObserved {
  return { planEpoch: 1, generation: 7, outcome, reason: "", message: "", fingerprint: undefined, ...change };
}

export function maintenanceOf(change: Partial<FleetMaintenance> = {}): FleetMaintenance {
  return { owner: "Rollout", ownerName: "web-1", wanted: "drain", phase: "draining", message: "", revisitAtMs: undefined, ...change };
}

/** What has become of a node's plan, by name: every way that a story can take. */
export const plans: Readonly<Record<string, Partial<FleetNode>>> = (() => {
  const settled = { enforcedAtMs: DECIDED_MS };
  const old = { decidedAtMs: NOW_MS - PROGRESS_DEADLINE_MS };
  const ancient = { decidedAtMs: NOW_MS - 3_600_000, enforcedAtMs: NOW_MS - 3_600_000 };
  return {
    "never decided": {},
    sent: { desired: desiredOf() },
    "sent long ago": { desired: desiredOf(old) },
    "sent by another rollout": { desired: desiredOf({ rollout: "web-0" }) },
    "sent, of an old revision": { desired: desiredOf({ revision: "Z", rollout: "web-0" }) },
    "sent long ago, of an old revision": { desired: desiredOf({ ...old, revision: "Z", rollout: "web-0" }) },
    accepted: { desired: desiredOf(), observed: observedOf("accepted") },
    "an earlier generation enforced": { desired: desiredOf(), observed: observedOf("enforced", { generation: 6 }) },
    "a later generation enforced": { desired: desiredOf(), observed: observedOf("enforced", { generation: 8 }) },
    "a later epoch enforced": { desired: desiredOf(), observed: observedOf("enforced", { planEpoch: 2, generation: 1 }) },
    "an earlier epoch enforced": { desired: desiredOf(), observed: observedOf("enforced", { planEpoch: 0, generation: 9 }) },
    enforced: { desired: desiredOf(), observed: observedOf("enforced") },
    "enforced and settled": { desired: desiredOf(settled), observed: observedOf("enforced") },
    "settled an hour ago": { desired: desiredOf(ancient), observed: observedOf("enforced") },
    "settled by another rollout": { desired: desiredOf({ ...settled, rollout: "web-0" }), observed: observedOf("enforced") },
    "settled at an old revision": { desired: desiredOf({ ...settled, revision: "Z", rollout: "web-0" }), observed: observedOf("enforced") },
    "settled, to join again": { desired: desiredOf({ ...settled, isRejoinDue: true }), observed: observedOf("enforced") },
    "enforced, to join again": { desired: desiredOf({ isRejoinDue: true }), observed: observedOf("enforced") },
    "gates pending": { desired: desiredOf(), observed: observedOf("enforced"), gate: { state: "pending", message: "Ready" } },
    "gates failing": { desired: desiredOf(), observed: observedOf("enforced"), gate: { state: "failed", message: "Ready" } },
    "gates failing for too long": {
      desired: desiredOf(old),
      observed: observedOf("enforced"),
      gate: { state: "failed", message: "Ready" },
    },
    "settled, gates failing": {
      desired: desiredOf(settled),
      observed: observedOf("enforced"),
      gate: { state: "failed", message: "Ready" },
    },
    "gates of an old revision failing": {
      desired: desiredOf({ revision: "Z", rollout: "web-0" }),
      observed: observedOf("enforced"),
      gate: { state: "failed", message: "Ready" },
    },
    failed: { desired: desiredOf(), observed: observedOf("failed", { reason: "Down", message: "m", fingerprint: "f" }) },
    "failed long ago": { desired: desiredOf(old), observed: observedOf("failed", { reason: "Down", message: "m", fingerprint: "f" }) },
    rejected: { desired: desiredOf(), observed: observedOf("rejected", { reason: "NotConfirmed", message: "m" }) },
    refused: { desired: desiredOf(), observed: observedOf("refused", { reason: "PlanExpired", message: "m" }) },
    "impact exceeded": { desired: desiredOf(), observed: observedOf("refused", { reason: "ImpactExceeded", message: "m" }) },
    interrupted: { desired: desiredOf(), observed: observedOf("rejected", { reason: "BootedUnconfirmed", isInterrupted: true }) },
    "failed, to join again": { desired: desiredOf({ isRejoinDue: true }), observed: observedOf("failed", { reason: "Down" }) },
    "failed at an old revision": {
      desired: desiredOf({ revision: "Z", rollout: "web-0" }),
      observed: observedOf("failed", { reason: "Down" }),
    },
    "an earlier generation failed": { desired: desiredOf(), observed: observedOf("failed", { generation: 6 }) },
  };
})();

/** What else may be with a node, by name. */
export const circumstances: Readonly<Record<string, Partial<FleetNode>>> = {
  calm: {},
  unhealthy: { verdict: "unhealthy", verdictReason: "DiskFull" },
  unknown: { verdict: "unknown", verdictReason: "Silent" },
  obstacle: { obstacle: { reason: "Revoked", message: "revoked" } },
  unsent: { obstacle: { reason: "Unsupported", message: "too old" } },
  disrupted: { disruption: "rack 1 is disrupted" },
  "live drift": { drift: { impact: "live", sinceMs: DECIDED_MS } },
  "drift to restart": { drift: { impact: "restart", sinceMs: DECIDED_MS } },
  "drift to reboot, drainable": { drift: { impact: "reboot", sinceMs: DECIDED_MS }, isDrainable: true },
  drainable: { impact: "drain", isDrainable: true },
  "drainable, live": { isDrainable: true },
  "waiting to be drained": { impact: "drain", isDrainable: true, maintenance: maintenanceOf({ phase: "waiting" }) },
  draining: { impact: "drain", isDrainable: true, maintenance: maintenanceOf({ message: "2 left" }) },
  "draining for nothing": { isDrainable: true, maintenance: maintenanceOf() },
  drained: { impact: "drain", isDrainable: true, maintenance: maintenanceOf({ phase: "drained" }) },
  "drain timed out": {
    impact: "drain",
    isDrainable: true,
    maintenance: maintenanceOf({ phase: "timedOut", message: "PDB", revisitAtMs: NOW_MS + 5_000 }),
  },
  "drain to be revisited": {
    impact: "drain",
    isDrainable: true,
    maintenance: maintenanceOf({ phase: "timedOut", message: "PDB", revisitAtMs: NOW_MS }),
  },
  "let back": { isDrainable: true, maintenance: maintenanceOf({ wanted: "release", phase: "drained" }) },
  "under repair": { maintenance: maintenanceOf({ owner: "Repair", ownerName: "fix-1", phase: "drained" }) },
  "taken out": { maintenance: maintenanceOf({ owner: "Operator", ownerName: "ann", wanted: "cordon", phase: "cordoned" }) },
};
