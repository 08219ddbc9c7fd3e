import { type Repair, type Rollout } from "@drover/api";
import { Impact, RolloutForecast } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { rolloutLines } from "../output/rollout-lines.ts";
import { describeRepair } from "./describe-repair.ts";
import { repairsText } from "./repair.ts";
import { approvalText } from "./rollout-approve.ts";
import { historyText } from "./rollout-history.ts";
import { forecastText } from "./rollout-plan.ts";
import { fleetLines } from "./status.ts";

const DIGEST = `sha256:${"d".repeat(64)}`;
const REVISION = `sha256:${"a".repeat(64)}`;
const rollout: Rollout = {
  apiVersion: "drover.dev/v1alpha1",
  kind: "Rollout",
  metadata: { name: "web-2", creationTimestamp: "2026-01-01T00:00:00Z" },
  spec: {
    nodeSet: "web",
    profile: "web",
    revision: REVISION,
    startedBy: "operator:ann",
    undoOf: "web-1",
    strategy: {
      maxUnavailable: "10%",
      soak: "0s",
      progressDeadline: "10m",
      failureBudget: 1,
      budgets: [{ topologyKey: "zone", maxUnavailable: 1 }],
      exclusive: "hypervisor",
    },
  },
  status: {
    phase: "Progressing",
    reason: "NodesInChange",
    message: "",
    total: 300,
    updated: 7,
    inChange: 1,
    failed: 2,
    waiting: [
      { node: "a", reason: "InChange", message: "was given generation 2" },
      ...["b", "c", "d", "e", "f", "g"].map((node) => ({ node, reason: "BudgetSpent", message: "30 are unavailable" })),
    ],
    waitingCounts: { InChange: 1, BudgetSpent: 20, CountNotConfirmed: 3 },
    waves: [
      { name: "canary", nodes: 5, updated: 5, phase: "Complete" },
      { name: "wave 2", nodes: 295, updated: 2, phase: "AwaitingApproval", approvalDigest: DIGEST },
    ],
    impact: { bound: "drain", steps: [], worst: [{ topologyKey: "zone", value: "x", nodes: 1, of: 100 }] },
    fingerprints: [
      { step: "images", error: "no space left", isNew: true, nodes: ["x", "y"] },
      { step: "old", error: "known", isNew: false, nodes: [] },
    ],
    estimatedEnd: "2026-01-01T01:00:00Z",
    observedGeneration: 1,
  },
};

describe("a rollout's status", () => {
  it("tells waves, budget, end, what failed alike and why who waits", () => {
    const { head, details } = rolloutLines(rollout);
    expect([head, ...details]).toEqual([
      "rollout/web-2 Progressing: 7 of 300 updated, 1 in change, 2 failed, done at about 2026-01-01T01:00:00Z",
      "  waves: canary 5/5 Complete, wave 2 2/295 AwaitingApproval",
      "  to be approved by an approver: drover rollout approve web-2 --wave 2",
      "  to be confirmed, as all of them would move at once: drover rollout resume web-2 --nodes 300",
      "  budget: 10% at once, 1 for each zone, one hypervisor at a time; impact at most drain, 1 of 100 in zone=x at once",
      "  failed alike, as none did before: x, y (images: no space left)",
      "  in change: a (was given generation 2)",
      "  waiting: b, c, d, e, f and 1 more (BudgetSpent: 30 are unavailable)",
      "  waiting: 14 more (BudgetSpent)",
      "  waiting: 3 more (CountNotConfirmed)",
    ]);
  });
});

const forecast = RolloutForecast.fromPartial({
  nodeSet: "web",
  revision: REVISION,
  nodes: 300,
  updated: 0,
  impactBound: Impact.IMPACT_DRAIN,
  steps: [{ step: "sysctl", impact: Impact.IMPACT_LIVE, nodes: 300 }],
  waves: [
    { name: "canary", nodes: 5, impactBound: Impact.IMPACT_LIVE, sample: ["a", "b", "c", "d", "e"], atOnce: 1 },
    { name: "wave 2", nodes: 295, impactBound: Impact.IMPACT_DRAIN, needsApproval: true, sample: ["f"], atOnce: 30 },
  ],
  worst: [{ topologyKey: "zone", value: "x", nodes: 1, of: 100 }],
  warnings: ["it would wait: NodeSet/db is not complete"],
});

describe("a plan", () => {
  it("tells steps, waves, the worst place and what stands against it", () => {
    expect(forecastText(forecast)).toBe(
      [
        "nodeset/web: 300 nodes, 0 at revision aaaaaaaaaaaa already",
        "  300 nodes would move; the most that one of them feels: drain",
        "  steps:",
        "    STEP     IMPACT   NODES",
        "    sysctl   live     300",
        "  waves:",
        "    WAVE     NODES   AT ONCE   IMPACT   APPROVAL   FIRST",
        "    canary   5       1         live     -          a, b, c, d, e",
        "    wave 2   295     30        drain    needed     f ...",
        "  hit hardest at once:",
        "    LABEL   VALUE   NODES",
        "    zone    x       1 of 100",
        "  warning: it would wait: NodeSet/db is not complete",
      ].join("\n"),
    );
  });
});

describe("an approval", () => {
  it("shows count, impact and digest, and of another revision's forecast nothing", () => {
    const text = approvalText(rollout, 2, forecast);
    expect(text).toContain("rollout/web-2 of nodeset/web: 300 nodes, 7 updated");
    expect(text).toContain("wave:      2 (wave 2), 295 nodes");
    expect(text).toContain("impact:    at most drain, 30 at once");
    expect(text).toContain(`digest:    ${DIGEST}`);
    expect(approvalText(rollout, 2, { ...forecast, revision: DIGEST })).toContain("impact:    at most drain over the whole rollout");
  });
});

describe("history", () => {
  it("tells what each rollout came to, who began it, and newest first who did what and why", () => {
    const superseded: Rollout = { ...rollout, status: { ...rollout.status!, phase: "Superseded", reason: "Completed" } };
    const record = { actor: "operator:ann", target: "Rollout/web-2", outcome: "ok" };
    const records = [
      { ...record, atMs: 0, action: "PauseRollout", message: "lunch" },
      { ...record, atMs: 1000, action: "UndoRollout", message: "RoleTooLow", outcome: "refused" },
    ];
    const lines = historyText([superseded], records, Date.parse("2026-01-01T00:01:00Z")).split("\n");
    expect(lines[1]).toMatch(/^web-2 +aaaaaaaaaaaa +Superseded \(had completed\) +7\/300 +60s +operator:ann +web-1$/);
    expect(lines.slice(4).map((line) => line.replaceAll(/ {2,}/g, " | "))).toEqual([
      "1970-01-01T00:00:01.000Z | operator:ann | UndoRollout (refused) | Rollout/web-2 | RoleTooLow",
      "1970-01-01T00:00:00.000Z | operator:ann | PauseRollout | Rollout/web-2 | lunch",
    ]);
  });
});

const repair = (nodeName: string): Repair => ({
  apiVersion: "drover.dev/v1alpha1",
  kind: "Repair",
  metadata: { name: `${nodeName}-1` },
  spec: {
    node: `id-${nodeName}`,
    nodeName,
    rungs: ["RestartUnits", "Reapply"],
    units: ["kubelet.service"],
    reason: "NotReady",
    requestedBy: "operator:ann",
  },
  status: {
    phase: "Running",
    reason: "",
    message: "",
    rung: 0,
    attempts: [{ rung: "RestartUnits", startedAt: "2026-01-01T00:00:00Z", outcome: "Running", message: "", evidence: "e1" }],
  },
});

describe("repairs", () => {
  it("I7: say how many nodes and which rungs before anything begins", () => {
    expect(repairsText([repair("a"), repair("b")])).toBe(
      "2 nodes to repair, each rung only when the one before did not help, within the budgets of their sets:\n" +
        "  a, b: RestartUnits, then Reapply (units: kubelet.service)",
    );
  });

  it("are described with the command that fetches their evidence", () => {
    const text = describeRepair(repair("a"), Date.parse("2026-01-01T00:00:30Z"));
    expect(text).toContain("Asked by:    operator:ann: NotReady");
    expect(text).toContain("  RestartUnits: Running, begun 30s ago\n    evidence: drover node support a --evidence e1");
  });

  it("are part of what is under way", () => {
    expect(fleetLines([rollout, repair("a")])).toEqual([
      "Nodes:       0 nodes",
      "Rollout:     web-2 Progressing, 7 of 300 updated",
      "Repair:      a-1 of a Running",
    ]);
  });
});
