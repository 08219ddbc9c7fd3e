/**
 * What one call of decide() takes for 100,000 nodes in 100 waves, half way through: with every node another object than before, and with ten changed. Both
 * with the budgets of a zone and of a rack, canary, order and approvals.
 */
import type { FleetNode, ResolvedStrategy, RolloutInput } from "../../coordinator/src/rollout/model.ts";
import { decide, decideAfresh } from "../../coordinator/src/rollout/decide.ts";
import { median } from "./process-cost.ts";
import type { Scenario } from "./scenario.ts";

const NODES = 100_000;
const WAVES = 100;
const CHANGED = 10;
const CALLS = 41;
const NOW_MS = 1_800_000_000_000;
const HOUR_MS = 3_600_000;

export const decideScenario: Scenario = {
  name: "decide",
  summary: "one call of decide() for 100,000 nodes in 100 waves: every node new to it, and ten changed since the call before",
  run({ say }) {
    const input = rolloutInput();
    const fleet = Array.from({ length: NODES }, (_, index) => nodeAt(index, index));
    decide(input, fleet, [], NOW_MS);
    const progress = decideAfresh(input, fleet, [], NOW_MS).find((decision) => decision.type === "progress");
    if (progress?.type !== "progress") throw new Error("decide() told no progress");
    const { phase, updated, inChange, waitingCounts } = progress;
    say(`${phase}: ${updated} updated, ${inChange} in change, waiting ${JSON.stringify(waitingCounts)}`);
    const all: Timed[] = [];
    const afresh: Timed[] = [];
    const delta: Timed[] = [];
    let current = fleet;
    for (let call = 0; call < CALLS; call += 1) {
      const others = fleet.map((_, index) => nodeAt(index, index));
      all.push(timed(() => decide(input, others, [], NOW_MS)));
      afresh.push(timed(() => decideAfresh(input, others, [], NOW_MS)));
      current = others;
    }
    for (let call = 0; call < 5 * CALLS; call += 1) {
      current = [...current];
      for (let changed = 0; changed < CHANGED; changed += 1) {
        const index = (call * 7_919 + changed * 9_973) % NODES;
        current[index] = nodeAt(index, index + call + 1);
      }
      delta.push(timed(() => decide(input, current, [], NOW_MS + call)));
    }
    const figures = [
      { name: "decide_100k_ms", value: median(walls(all)), unit: "ms", limit: 50 },
      { name: "decide_100k_afresh_ms", value: median(walls(afresh)), unit: "ms", limit: 50 },
      { name: "decide_100k_delta_ms", value: median(walls(delta)), unit: "ms", limit: 5 },
    ];
    const conditions = {
      nodes: NODES,
      waves: WAVES,
      changedNodes: CHANGED,
      calls: `${CALLS}, and ${5 * CALLS} of ten changed`,
      limits: "maxUnavailable 1,000, 2 topology keys",
      cpuMedianMs: `${cpu(all)} all new, ${cpu(afresh)} afresh, ${cpu(delta)} ten changed`,
      bestMs: `${best(all)} all new, ${best(afresh)} afresh, ${best(delta)} ten changed`,
      worstMs: `${Math.max(...walls(all)).toFixed(1)} all new, ${Math.max(...walls(afresh)).toFixed(1)} afresh, ${Math.max(...walls(delta)).toFixed(1)} ten changed`,
    };
    return Promise.resolve({ scenario: "decide", tier: "pure", conditions, figures });
  },
};

/** CPU of this thread besides, for a machine that others share. */
function timed(call: () => unknown): Timed {
  const startMs = performance.now();
  const before = process.threadCpuUsage();
  call();
  const { user, system } = process.threadCpuUsage(before);
  return { wallMs: performance.now() - startMs, cpuMs: (user + system) / 1_000 };
}

interface Timed {
  readonly wallMs: number;
  readonly cpuMs: number;
}

const walls = (calls: readonly Timed[]): number[] => calls.map(({ wallMs }) => wallMs);
const best = (calls: readonly Timed[]): string => Math.min(...walls(calls)).toFixed(1);
const cpu = (calls: readonly Timed[]): string => median(calls.map(({ cpuMs }) => cpuMs)).toFixed(1);

/** Half of the fleet is updated, some of the wave that runs soak, one in three hundred is not well, the rest awaits its wave. */
function nodeAt(index: number, salt: number): FleetNode {
  const isUpdated = index < NODES / 2;
  const isOdd = salt % 100 === 7;
  const revision = isUpdated ? "B" : "A";
  const labels = {
    role: "worker",
    "topology.kubernetes.io/zone": `zone-${index % 5}`,
    rack: `rack-${Math.floor(index / 40)}`,
    "kubernetes.io/hostname": `node-${index}`,
  };
  return {
    nodeId: `id-${index}`,
    name: `node-${String(index).padStart(6, "0")}`,
    labels,
    verdict: isOdd && salt % 3 === 0 ? "unhealthy" : "healthy",
    verdictReason: "Beating",
    desired: {
      planEpoch: 1,
      generation: 4,
      revision,
      rollout: isUpdated ? "web-2" : "web-1",
      decidedAtMs: NOW_MS - 2 * HOUR_MS,
      enforcedAtMs: isOdd && isUpdated && index > NODES / 2 - 1_000 ? NOW_MS - 1_000 : NOW_MS - HOUR_MS,
      isRejoinDue: false,
    },
    observed: { planEpoch: 1, generation: 4, outcome: "enforced", reason: "", message: "", fingerprint: undefined },
    obstacle: undefined,
    disruption: undefined,
    impact: "restart",
    drift: undefined,
    isDrainable: true,
    maintenance: undefined,
    gate: { state: "passed", message: "" },
  };
}

function rolloutInput(): RolloutInput {
  const strategy: ResolvedStrategy = {
    digest: "sha256:bench",
    maxUnavailable: 1_000,
    isAll: false,
    soakMs: 60_000,
    progressDeadlineMs: 600_000,
    failureBudget: 100,
    canary: { nodes: 10, soakMs: 600_000, prefers: (labels) => labels["role"] === "canary" },
    waves: Array.from({ length: WAVES - 2 }, (_, wave) => ((wave + 1) * NODES) / (WAVES - 1)).map(Math.floor),
    budgets: [
      { topologyKey: "topology.kubernetes.io/zone", atOnce: (nodes) => Math.floor(nodes / 20) },
      { topologyKey: "rack", atOnce: () => 4 },
    ],
    exclusive: undefined,
    order: { key: "role", values: ["worker"] },
    approvals: new Set([2]),
    drain: { from: "drain", deadlineMs: 600_000, revisitAfterMs: 300_000 },
    hasWebhook: false,
  };
  return {
    name: "web-2",
    revision: "B",
    strategy,
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
