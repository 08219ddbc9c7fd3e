/** Situations for decide() out of nothing but the contract: any node in any standing, also those that no orderly history leads to. For tests. */
import fc from "fast-check";
import type { Elsewhere, FleetMaintenance, FleetNode, FleetObserved, ResolvedStrategy, RolloutInput } from "../model.ts";

/** One call of decide(). */
export interface Situation {
  readonly input: RolloutInput;
  readonly fleet: readonly FleetNode[];
  readonly elsewhere: readonly Elsewhere[];
  readonly now: number;
}

export const NOW_MS = 10_000_000;
const ZONES = ["z1", "z1", "z2", "z2", "z3", ""] as const;
const RACKS = ["r1", "r2", "r1", ""] as const;
const ROLES = ["db", "web", "web", ""] as const;

function often<T>(usual: T, count: number, ...others: readonly T[]): fc.Arbitrary<T> {
  return fc.constantFrom(...Array.from({ length: count }, () => usual), ...others);
}

export function labelsOf(zone: string, rack: string, role: string): Readonly<Record<string, string>> {
  return {
    ...(zone === "" ? {} : { zone }),
    ...(rack === "" ? {} : { rack }),
    ...(role === "" ? {} : { role }),
  };
}

const labels = fc.tuple(fc.constantFrom(...ZONES), fc.constantFrom(...RACKS), fc.constantFrom(...ROLES)).map((of) => labelsOf(...of));

const desiredParts = fc.record({
  isThere: often(true, 5, false),
  isOurRevision: fc.boolean(),
  isOurRollout: often(true, 2, false),
  decidedAgoMs: often(30_000, 3, 0, 700_000, 3_500_000, 3_700_000),
  enforcedAgoMs: often<number | undefined>(undefined, 2, 0, 10_000, 100_000, 4_000_000),
  isRejoinDue: often(false, 7, true),
});

const observedParts = fc.record({
  of: often("this", 6, "none", "older", "beyond"),
  outcome: fc.constantFrom<FleetObserved["outcome"][]>(
    "none",
    "accepted",
    "accepted",
    "enforced",
    "enforced",
    "enforced",
    "failed",
    "rejected",
    "refused",
  ),
  reason: often("ContainerdDown", 3, "ImpactExceeded"),
  fingerprint: fc.constantFrom("containerd: ContainerdDown: *", "sysctl: ReadBackDiffers: *", "kubelet: KubeletDown: *"),
});

const maintenance: fc.Arbitrary<FleetMaintenance | undefined> = fc
  .record({
    isThere: often(false, 3, true),
    owner: fc.constantFrom<FleetMaintenance["owner"][]>("Rollout", "Rollout", "Rollout", "Repair", "Operator"),
    ownerName: often("web-2", 3, "web-1"),
    wanted: often<FleetMaintenance["wanted"]>("drain", 4, "release", "cordon"),
    phase: fc.constantFrom<FleetMaintenance["phase"][]>("waiting", "cordoned", "draining", "drained", "drained", "timedOut"),
    revisitInMs: fc.constantFrom(-1, 0, 60_000),
  })
  .map(({ isThere, owner, ownerName, wanted, phase, revisitInMs }) =>
    isThere
      ? {
          owner,
          ownerName,
          wanted,
          phase,
          message: "told by maintenance",
          revisitAtMs: phase === "timedOut" ? NOW_MS + revisitInMs : undefined,
        }
      : undefined,
  );

const nodeParts = fc.record({
  labels,
  verdict: often<FleetNode["verdict"]>("healthy", 5, "unhealthy", "unknown"),
  desired: desiredParts,
  observed: observedParts,
  obstacle: often<FleetNode["obstacle"]>(
    undefined,
    9,
    { reason: "Unsupported", message: "its agent cannot do images" },
    { reason: "PlanNotPossible", message: "its kubelet does not know that key" },
  ),
  disruption: often<string | undefined>(undefined, 7, "zone z1 is disrupted"),
  impact: fc.constantFrom<FleetNode["impact"][]>("none", "live", "live", "restart", "drain", "reboot"),
  drift: often<FleetNode["drift"]>(
    undefined,
    5,
    { impact: "restart", sinceMs: NOW_MS - 60_000 },
    { impact: "drain", sinceMs: NOW_MS - 4_000_000 },
  ),
  isDrainable: fc.boolean(),
  maintenance,
  gate: fc.constantFrom<FleetNode["gate"][]>(
    { state: "passed", message: "" },
    { state: "passed", message: "" },
    { state: "pending", message: "Kubernetes says nothing yet" },
    { state: "failed", message: "Ready is False" },
  ),
});

type NodeParts = typeof nodeParts extends fc.Arbitrary<infer T> ? T : never;

/** Names in an order that is not that of their making. */
function nodeOf(parts: NodeParts, index: number): FleetNode {
  const name = `n${(index * 7) % 10}${Math.floor(index / 10)}`;
  const { desired: wish, observed: seen } = parts;
  const generation = 2;
  const desired = wish.isThere
    ? {
        planEpoch: 1,
        generation,
        revision: wish.isOurRevision ? "B" : "A",
        rollout: wish.isOurRollout && wish.isOurRevision ? "web-2" : "web-1",
        decidedAtMs: NOW_MS - wish.decidedAgoMs,
        enforcedAtMs: wish.enforcedAgoMs === undefined || seen.outcome !== "enforced" ? undefined : NOW_MS - wish.enforcedAgoMs,
        isRejoinDue: wish.isRejoinDue,
      }
    : undefined;
  const isFailure = seen.outcome === "failed" || seen.outcome === "rejected" || seen.outcome === "refused";
  const observed: FleetObserved | undefined =
    seen.of === "none" || desired === undefined
      ? undefined
      : {
          planEpoch: 1,
          generation: seen.of === "this" ? generation : seen.of === "older" ? generation - 1 : generation + 3,
          outcome: seen.outcome,
          reason: isFailure ? seen.reason : "",
          message: isFailure ? "CRI does not answer" : "",
          fingerprint: isFailure ? seen.fingerprint : undefined,
        };
  const { labels, verdict, obstacle, disruption, impact, drift, isDrainable, maintenance, gate } = parts;
  return {
    nodeId: `id-${name}`,
    name,
    labels,
    verdict,
    verdictReason: verdict === "healthy" ? "Beating" : "Silent",
    desired,
    observed,
    obstacle,
    disruption,
    impact,
    drift: observed?.outcome === "enforced" && seen.of === "this" ? drift : undefined,
    isDrainable,
    maintenance,
    gate,
  };
}

const strategies = (size: number): fc.Arbitrary<ResolvedStrategy> =>
  fc
    .record({
      maxUnavailable: fc.constantFrom(1, 1, 2, 3, 5),
      isAll: often(false, 6, true),
      soakMs: fc.constantFrom(0, 0, 60_000),
      failureBudget: fc.constantFrom(0, 1, 2, 3),
      canary: often(0, 2, 1, 2),
      canarySoakMs: fc.constantFrom(0, 120_000),
      canaryRole: fc.constantFrom("", "web"),
      waves: fc.constantFrom<(readonly number[])[]>([], [], [2], [3, 5], [1, 2, 4]),
      budgetKeys: fc.constantFrom<(readonly string[])[]>([], ["zone"], ["zone", "rack"], ["rack"], ["role", "zone"]),
      budgetAtOnce: fc.constantFrom(1, 1, 2),
      exclusive: often<string | undefined>(undefined, 2, "zone", "role"),
      order: often<ResolvedStrategy["order"]>(undefined, 2, { key: "role", values: ["web", "db"] }, { key: "zone", values: ["z2"] }),
      approvals: fc.constantFrom<(readonly number[])[]>([], [], [1], [2], [1, 2, 3]),
      drainFrom: fc.constantFrom<ResolvedStrategy["drain"]["from"][]>("never", "drain", "restart", "reboot"),
      hasWebhook: often(false, 3, true),
    })
    .map((given) => ({
      digest: JSON.stringify([size, given]),
      maxUnavailable: given.isAll ? size : Math.min(size, given.maxUnavailable),
      isAll: given.isAll,
      soakMs: given.soakMs,
      progressDeadlineMs: 600_000,
      failureBudget: given.failureBudget,
      canary:
        given.canary === 0
          ? undefined
          : {
              nodes: Math.min(given.canary, size),
              soakMs: given.canarySoakMs,
              prefers: (labels) => given.canaryRole !== "" && labels["role"] === given.canaryRole,
            },
      waves: given.waves.filter((reach) => reach < size),
      budgets: given.budgetKeys.map((topologyKey) => ({ topologyKey, atOnce: (nodes) => Math.min(nodes, given.budgetAtOnce) })),
      exclusive: given.exclusive,
      order: given.order,
      approvals: new Set(given.approvals),
      drain: { from: given.drainFrom, deadlineMs: 600_000, revisitAfterMs: 300_000 },
      hasWebhook: given.hasWebhook,
    }));

const inputParts = fc.record({
  isPaused: often(false, 7, true),
  isAborted: often(false, 7, true),
  promotedWave: often(0, 4, 1, 2),
  approvedWaves: fc.constantFrom<(readonly number[])[]>([], [1], [1, 2], [1, 2, 3, 4]),
  approval: often("right", 3, "stale"),
  confirmed: fc.constantFrom("right", "right", "none", "stale"),
  retriedAgoMs: often<number | undefined>(undefined, 4, 0, 60_000),
  opening: often<RolloutInput["opening"]>(
    { isOpen: true, closesAtMs: undefined },
    5,
    { isOpen: true, closesAtMs: NOW_MS + 30_000 },
    { isOpen: false, reason: "OutsideWindow", message: "the window opens at 22:00", opensAtMs: NOW_MS + 60_000 },
    { isOpen: false, reason: "Frozen", message: "frozen until Monday", opensAtMs: undefined },
  ),
  waitsFor: often<string | undefined>(undefined, 7, "NodeSet/db is not complete"),
  gatedWaves: fc.constantFrom<(readonly (readonly [number, boolean])[])[]>(
    [],
    [[1, true]],
    [
      [1, true],
      [2, true],
      [3, true],
    ],
    [[1, false]],
  ),
  knownFingerprints: fc.constantFrom<(readonly string[])[]>([], [], ["containerd: ContainerdDown: *"]),
});

/** Approvals are filled in with the digests that the strategy asks for, see approve.ts; here is only which waves were approved, and whether for what stands now. */
export interface Drawn {
  readonly situation: Situation;
  readonly approvedWaves: readonly number[];
  readonly isApprovalRight: boolean;
}

export const drawn: fc.Arbitrary<Drawn> = fc
  .integer({ min: 0, max: 9 })
  .chain((size) =>
    fc.tuple(
      fc.array(nodeParts, { minLength: size, maxLength: size }),
      strategies(size),
      inputParts,
      fc.array(fc.tuple(fc.constantFrom(...ZONES), fc.constantFrom(...RACKS), fc.boolean()), { maxLength: 2 }),
    ),
  )
  .map(([parts, strategy, given, others]) => {
    const input: RolloutInput = {
      name: "web-2",
      revision: "B",
      strategy,
      isPaused: given.isPaused,
      isAborted: given.isAborted,
      promotedWave: given.promotedWave,
      approvals: new Map(),
      confirmedNodes: given.confirmed === "none" ? undefined : given.confirmed === "right" ? parts.length : parts.length + 1,
      retriedAtMs: given.retriedAgoMs === undefined ? undefined : NOW_MS - given.retriedAgoMs,
      opening: given.opening,
      waitsFor: given.waitsFor,
      waveGates: new Map(
        given.gatedWaves.map(([wave, isPassed]) => [wave, { isPassed, message: "told by the webhook", atMs: NOW_MS - 1_000 }]),
      ),
      knownFingerprints: new Set(given.knownFingerprints),
    };
    const elsewhere = others.map(([zone, rack, isInChange], index) => ({
      name: `other-${index}`,
      labels: labelsOf(zone, rack, ""),
      isInChange,
    }));
    const situation = { input, fleet: parts.map(nodeOf), elsewhere, now: NOW_MS };
    return { situation, approvedWaves: given.approvedWaves, isApprovalRight: given.approval === "right" };
  });
