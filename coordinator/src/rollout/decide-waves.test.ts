import { describe, expect, it } from "vitest";
import { decide, decideAfresh } from "./decide.ts";
import { FleetPlay, type PlayOptions } from "./fleet-play.ts";
import type { Decision, Labels, Progress, WaitReason } from "./model.ts";

const canary = (nodes: number, soakMs = 0, role?: string): PlayOptions["canary"] => ({
  nodes,
  soakMs,
  prefers: (labels) => labels["role"] === role,
});

function begun(decisions: readonly Decision[]): string[] {
  return decisions.flatMap((decision) =>
    decision.type === "move" || decision.type === "drain" ? [`${decision.type} ${decision.name}`] : [],
  );
}

function reasons(decisions: readonly Decision[]): Record<string, WaitReason> {
  return Object.fromEntries(decisions.flatMap((decision) => (decision.type === "wait" ? [[decision.name, decision.reason]] : [])));
}

function progressOf(decisions: readonly Decision[]): Progress {
  return decisions.find((decision): decision is Progress => decision.type === "progress")!;
}

function labelled(nodes: Readonly<Record<string, Labels>>, options: PlayOptions): FleetPlay {
  const play = new FleetPlay([], options);
  for (const [name, labels] of Object.entries(nodes)) play.join(name, labels);
  return play;
}

describe("waves", () => {
  it("begin one after the other, in the order of canary's preference, order and name", () => {
    const play = labelled(
      { a: { role: "db" }, b: { role: "web" }, c: { role: "spare" }, d: { role: "web" } },
      { maxUnavailable: 4, canary: canary(1, 0, "spare"), waves: [3], order: { key: "role", values: ["web"] } },
    );
    expect(begun(play.decide())).toEqual(["move c"]);
    play.reports("c", "enforced");
    expect(begun(play.decide())).toEqual(["move b", "move d"]);
    play.reports("b", "enforced");
    expect(reasons(play.decide())).toEqual({ d: "InChange", a: "LaterWave" });
    play.reports("d", "enforced");
    expect(begun(play.decide())).toEqual(["move a"]);
    expect(progressOf(play.decide()).waves.map(({ name, phase }) => `${name} ${phase}`)).toEqual([
      "canary Complete",
      "wave 2 Complete",
      "wave 3 Progressing",
    ]);
  });

  it("let the canary soak for its own time, which promotion ends", () => {
    const play = new FleetPlay(["a", "b"], { soakMs: 10_000, canary: canary(1, 60_000) });
    play.decide();
    play.reports("a", "enforced");
    play.decide();
    play.pass(59_000);
    const soaking = play.decide();
    expect(reasons(soaking)).toEqual({ a: "Soaking", b: "LaterWave" });
    expect(soaking.find(({ type }) => type === "askAgain")).toMatchObject({ atMs: 60_000 });
    play.rollout = { ...play.rollout, promotedWave: 1 };
    expect(begun(play.decide())).toEqual(["move b"]);
  });

  it("are not passed by a canary of which nobody could be updated", () => {
    const play = new FleetPlay(["a", "b"], { maxUnavailable: 2, canary: canary(1) });
    play.becomes("a", "unhealthy", "LeaseStale");
    expect(reasons(play.decide())).toEqual({ a: "NodeUnhealthy", b: "LaterWave" });
  });

  it("take a late joiner of an earlier wave along, and hold the next one back for it", () => {
    const play = new FleetPlay(["b", "c", "d"], { canary: canary(1) });
    play.decide();
    play.reports("b", "enforced");
    play.decide();
    play.reports("c", "enforced");
    play.join("a");
    expect(begun(play.decide())).toEqual(["move a"]);
    expect(reasons(play.decide())).toEqual({ a: "InChange", d: "LaterWave" });
  });

  it("let what an earlier plan broke in a later wave go first when nobody else ever could, and only then", () => {
    const play = new FleetPlay(["a", "b"], {});
    play.decide();
    play.reports("a", "enforced");
    play.decide();
    play.reports("b", "rejected", "NotConfirmed", "undone");
    play.rollout = { ...play.rollout, strategy: { ...play.rollout.strategy, canary: canary(1) } };
    play.supersede("B");
    expect(begun(play.decide())).toEqual(["move b"]);
    const roomy = new FleetPlay(["a", "b"], { maxUnavailable: 2 });
    roomy.decide();
    roomy.reports("a", "enforced");
    roomy.reports("b", "rejected", "NotConfirmed", "undone");
    roomy.rollout = { ...roomy.rollout, strategy: { ...roomy.rollout.strategy, canary: canary(1) } };
    roomy.supersede("B");
    expect(begun(roomy.decide())).toEqual(["move a"]);
  });

  it("ask the webhook when they are done, once, and wait for it", () => {
    const play = new FleetPlay(["a", "b"], { canary: canary(1), hasWebhook: true });
    play.decide();
    play.reports("a", "enforced");
    const asked = play.decide();
    expect(asked.filter(({ type }) => type === "askGate")).toEqual([{ type: "askGate", wave: 1 }]);
    play.webhookSays(1, false);
    const refused = play.decide();
    expect(refused.some(({ type }) => type === "askGate")).toBe(false);
    expect(progressOf(refused)).toMatchObject({ reason: "Gated", waves: [{ phase: "Gated" }, { phase: "Pending" }] });
    play.webhookSays(1, true);
    expect(begun(play.decide())).toEqual(["move b"]);
  });
});

describe("approvals", () => {
  const options: PlayOptions = { maxUnavailable: 3, canary: canary(1), approvals: new Set([2]) };

  it("hold their wave, and no other", () => {
    const play = new FleetPlay(["a", "b", "c"], options);
    expect(begun(play.decide())).toEqual(["move a"]);
    play.reports("a", "enforced");
    const waiting = play.decide();
    expect(reasons(waiting)).toEqual({ b: "AwaitingApproval", c: "AwaitingApproval" });
    expect(progressOf(waiting)).toMatchObject({ reason: "AwaitingApproval", waves: [{}, { phase: "AwaitingApproval" }] });
    play.approve(2);
    expect(begun(play.decide())).toEqual(["move b", "move c"]);
  });

  it("do not cover a node that joined after them, nor more impact", () => {
    const play = new FleetPlay(["a", "b"], options);
    play.decide();
    play.reports("a", "enforced");
    play.decide();
    play.approve(2);
    play.node("b").impact = "reboot";
    expect(reasons(play.decide())).toEqual({ b: "AwaitingApproval" });
    play.node("b").impact = "none";
    play.join("c");
    expect(reasons(play.decide())).toEqual({ b: "AwaitingApproval", c: "AwaitingApproval" });
    play.approve(2);
    expect(begun(play.decide())).toEqual(["move b", "move c"]);
  });

  it("hold until the wave is through, although less and less is left to disturb", () => {
    const play = new FleetPlay(["a", "b", "c"], { ...options, maxUnavailable: 1 });
    play.node("b").impact = "restart";
    play.decide();
    play.reports("a", "enforced");
    play.decide();
    play.approve(2);
    expect(begun(play.decide())).toEqual(["move b"]);
    play.node("b").impact = "none";
    play.reports("b", "enforced");
    expect(begun(play.decide())).toEqual(["move c"]);
  });

  it("are asked of the last wave where their own has fallen together with it", () => {
    const play = new FleetPlay(["a"], { approvals: new Set([3]) });
    expect(reasons(play.decide())).toEqual({ a: "AwaitingApproval" });
  });
});

describe("what holds for the whole set", () => {
  it.each([
    ["Paused", { isPaused: true }, "Paused"],
    ["Aborted", { isAborted: true }, "Aborted"],
    ["WaitsForNodeSet", { waitsFor: "NodeSet/db is not complete" }, "Pending"],
    ["Frozen", { opening: { isOpen: false, reason: "Frozen", message: "Christmas", opensAtMs: 5_000 } as const }, "Pending"],
  ])("%s: nobody begins", (reason, change, phase) => {
    const play = new FleetPlay(["a", "b"], { maxUnavailable: 2 });
    play.rollout = { ...play.rollout, ...change };
    const decisions = play.decide();
    expect(begun(decisions)).toEqual([]);
    expect(progressOf(decisions)).toMatchObject({ phase, waitingCounts: { [reason]: 2 } });
  });

  it("all at once only with the count confirmed, and only live", () => {
    const play = new FleetPlay(["a", "b"], { maxUnavailable: 2, isAll: true });
    expect(reasons(play.decide())).toEqual({ a: "CountNotConfirmed", b: "CountNotConfirmed" });
    play.rollout = { ...play.rollout, confirmedNodes: 2 };
    play.node("b").impact = "restart";
    expect(reasons(play.decide())).toEqual({ a: "ImpactNotLive", b: "ImpactNotLive" });
    play.node("b").impact = "live";
    expect(begun(play.decide())).toEqual(["move a", "move b"]);
  });

  it("stops when a second node fails as none did before, within the failure budget, and not when it is known", () => {
    const failing = (known: readonly string[]): Progress => {
      const play = new FleetPlay(["a", "b", "c"], { maxUnavailable: 2, failureBudget: 3 });
      play.rollout = { ...play.rollout, knownFingerprints: new Set(known) };
      play.decide();
      play.reports("a", "rejected", "CriDown", "socket 1", "containerd: CriDown");
      play.reports("b", "rejected", "CriDown", "socket 2", "containerd: CriDown");
      return progressOf(play.decide());
    };
    expect(failing([])).toMatchObject({ phase: "Stopped", reason: "SameNewFailure", fingerprints: [{ isNew: true, nodes: ["a", "b"] }] });
    expect(failing(["containerd: CriDown"])).toMatchObject({ phase: "Progressing", fingerprints: [{ isNew: false }] });
  });

  it("stops when one node finds more impact than was approved, whatever the failure budget, until it is retried", () => {
    const play = new FleetPlay(["a", "b"], { failureBudget: 5 });
    play.decide();
    play.reports("a", "refused", "ImpactExceeded", "would restart containerd");
    expect(progressOf(play.decide())).toMatchObject({ phase: "Stopped", reason: "ImpactExceeded" });
    play.pass(1_000);
    play.rollout = { ...play.rollout, retriedAtMs: play.nowMs };
    expect(begun(play.decide())).toEqual(["move a"]);
  });
});

describe("I3: limits", () => {
  it("hold in every value of every key at once, nodes without the label being in none", () => {
    const play = labelled(
      { a: { zone: "1", rack: "x" }, b: { zone: "1", rack: "y" }, c: { zone: "2", rack: "x" }, d: { zone: "2", rack: "z" }, e: {} },
      { maxUnavailable: 4, budgets: ["zone", "rack"].map((topologyKey) => ({ topologyKey, atOnce: () => 1 })) },
    );
    const decisions = play.decide();
    expect(begun(decisions)).toEqual(["move a", "move d", "move e"]);
    expect(reasons(decisions)).toEqual({ b: "TopologyBudgetSpent", c: "TopologyBudgetSpent" });
  });

  it("keep two values of the exclusive key apart, other sets included", () => {
    const play = labelled({ a: { zone: "1" }, b: { zone: "2" }, c: {} }, { maxUnavailable: 3, exclusive: "zone" });
    play.elsewhere = [{ name: "other", labels: { zone: "2" }, isInChange: true }];
    const decisions = play.decide();
    expect(begun(decisions)).toEqual(["move b", "move c"]);
    expect(reasons(decisions)).toEqual({ a: "Exclusive" });
  });

  it("count other sets of a story in topology budgets, not in maxUnavailable", () => {
    const db = new FleetPlay([], { budgets: [{ topologyKey: "zone", atOnce: () => 1 }] }, "db");
    db.join("db-1", { zone: "1" });
    const web = new FleetPlay([], { maxUnavailable: 1, budgets: [{ topologyKey: "zone", atOnce: () => 1 }] }, "web", db);
    web.join("web-1", { zone: "1" });
    web.join("web-2", { zone: "2" });
    expect(begun(db.decide())).toEqual(["move db-1"]);
    expect(begun(web.decide())).toEqual(["move web-2"]);
  });

  it("count what an operator or a repair has taken out, and leave it alone", () => {
    const play = new FleetPlay(["a", "b"], {});
    play.takesOut("a", "Repair", "repair-1");
    expect(reasons(play.decide())).toEqual({ a: "UnderRepair", b: "BudgetSpent" });
  });
});

describe("drains", () => {
  function cluster(options: PlayOptions = {}): FleetPlay {
    const play = new FleetPlay(["a", "b"], options);
    for (const name of ["a", "b"]) Object.assign(play.node(name), { isDrainable: true, impact: "drain" });
    return play;
  }

  it("come before the move, and end with the settled change", () => {
    const play = cluster();
    expect(begun(play.decide())).toEqual(["drain a"]);
    expect(reasons(play.decide())).toEqual({ a: "Draining", b: "BudgetSpent" });
    play.drains("a", "drained");
    expect(begun(play.decide())).toEqual(["move a"]);
    play.gates("a", "pending", "Ready is not told yet");
    play.reports("a", "enforced");
    expect(reasons(play.decide())).toEqual({ a: "GatePending", b: "BudgetSpent" });
    play.gates("a", "passed");
    expect(play.decide().map(({ type }) => type)).toContain("release");
    expect(reasons(play.decide())).toEqual({ b: "BudgetSpent" });
    play.isLetBack("a");
    expect(begun(play.decide())).toEqual(["drain b"]);
  });

  it("that time out let others go first, and are tried again after them", () => {
    const play = cluster();
    play.decide();
    play.drains("a", "timedOut", "a budget of pods does not yield");
    expect(begun(play.decide())).toEqual(["drain b"]);
    play.pass(300_000);
    expect(reasons(play.decide())).toEqual({ a: "BudgetSpent", b: "Draining" });
    play.drains("b", "drained");
    play.decide();
    play.reports("b", "enforced");
    play.decide();
    play.isLetBack("b");
    expect(begun(play.decide())).toEqual(["drain a"]);
  });

  it.each([
    ["the rollout is aborted", { isAborted: true }, true],
    ["its window closes", { opening: { isOpen: false, reason: "OutsideWindow", message: "closed", opensAtMs: undefined } as const }, true],
    ["the rollout is paused", { isPaused: true }, false],
  ])("of nodes that were not moved yet: %s", (_what, change, isLetGo) => {
    const play = cluster();
    play.decide();
    play.drains("a", "drained");
    play.rollout = { ...play.rollout, ...change };
    const decisions = play.decide();
    expect(begun(decisions)).toEqual([]);
    expect(decisions.some(({ type }) => type === "release")).toBe(isLetGo);
  });

  it("of an earlier rollout are taken over", () => {
    const play = cluster();
    play.decide();
    play.drains("a", "drained");
    play.supersede("B");
    expect(begun(play.decide())).toEqual(["move a"]);
  });

  it("of operators are never let go by a rollout", () => {
    const play = cluster();
    play.takesOut("a", "Operator", "kim");
    play.rollout = { ...play.rollout, isAborted: true };
    expect(play.decide().some(({ type }) => type === "release")).toBe(false);
  });
});

describe("gates and drift", () => {
  it("a gate that does not pass until the progress deadline makes the node failed", () => {
    const play = new FleetPlay(["a", "b"], { progressDeadlineMs: 60_000 });
    play.decide();
    play.gates("a", "failed", "Ready is False");
    play.reports("a", "enforced");
    expect(play.decide().find(({ type }) => type === "askAgain")).toMatchObject({ atMs: 60_000 });
    play.pass(60_000);
    expect(progressOf(play.decide())).toMatchObject({ phase: "Stopped", failed: 1 });
  });

  it("a soak does not end while the gates fail", () => {
    const play = new FleetPlay(["a", "b"], { soakMs: 30_000 });
    play.decide();
    play.reports("a", "enforced");
    play.decide();
    play.gates("a", "failed", "Ready is False");
    play.pass(40_000);
    expect(reasons(play.decide())).toEqual({ a: "GatePending", b: "BudgetSpent" });
  });

  it("drift gets a slot within the budget, and the next one an hour later", () => {
    const play = new FleetPlay(["a", "b"], { maxUnavailable: 2 });
    play.decide();
    for (const name of ["a", "b"]) play.reports(name, "enforced");
    play.decide();
    play.pass(3_600_000);
    play.rollout = { ...play.rollout, strategy: { ...play.rollout.strategy, maxUnavailable: 1 } };
    for (const name of ["a", "b"]) play.drifts(name, "restart");
    expect(begun(play.decide())).toEqual(["move a"]);
    play.reports("a", "enforced");
    expect(begun(play.decide())).toEqual(["move b"]);
    play.drifts("a", "restart");
    expect(reasons(play.decide())).toMatchObject({ a: "DriftReturns" });
  });
});

describe("many nodes", () => {
  const many = new FleetPlay(
    Array.from({ length: 1_000 }, (_, index) => `n${String(index).padStart(4, "0")}`),
    { maxUnavailable: 3, canary: canary(300), failureBudget: 9 },
  );

  it("wait, 200 of them by name and all by count", () => {
    const decisions = decide(many.rollout, many.fleet(), [], 0);
    expect(decisions.filter(({ type }) => type === "wait")).toHaveLength(200);
    expect(progressOf(decisions).waitingCounts).toEqual({ BudgetSpent: 297, LaterWave: 700 });
  });

  it("are judged the same with and without memory, through a whole rollout", () => {
    for (let round = 0; round < 30; round += 1) {
      const afresh = decideAfresh(many.rollout, many.fleet(), [], many.nowMs);
      const moved = begun(many.decide());
      expect(moved).toEqual(begun(afresh));
      expect(decide(many.rollout, many.fleet(), [], many.nowMs)).toEqual(decideAfresh(many.rollout, many.fleet(), [], many.nowMs));
      for (const [index, move] of moved.entries()) {
        const name = move.slice(5);
        many.reports(name, (round + index) % 17 === 0 ? "rejected" : "enforced", "Odd", `round ${round}`);
      }
      many.pass(1_000);
    }
    expect(progressOf(many.decide()).updated).toBeGreaterThan(20);
  });
});
