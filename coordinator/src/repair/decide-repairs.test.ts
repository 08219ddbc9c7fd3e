import { describe, expect, it } from "vitest";
import { decideRepairs } from "./decide-repairs.ts";
import type { RepairDecision, RepairNode } from "./model.ts";
import { playedSet, RepairPlay } from "./repair-play.ts";
import { isInFlight } from "./standing.ts";

const MINUTE = 60_000;
const UNHEALTHY = { verdict: "unhealthy", verdictReason: "ContainerdDown", isUnavailable: true } as const;

function fleet(size: number, more: Parameters<typeof playedSet>[1] = {}): RepairPlay {
  const play = new RepairPlay();
  play.sets.set("web", playedSet("web", { ...more, strategy: { ...playedSet("web").strategy, maxUnavailable: size, ...more.strategy } }));
  for (let index = 0; index < size; index += 1)
    play.join(`n${String(index).padStart(2, "0")}`, "web", { labels: { zone: "abcdefgh"[index % 8]! } });
  play.pass(20 * MINUTE);
  return play;
}
const createdOf = (decisions: readonly RepairDecision[]): string[] =>
  decisions.flatMap((each) => (each.type === "create" ? [each.name] : []));
const waitOf = (decisions: readonly RepairDecision[], name: string): string | undefined =>
  decisions.flatMap((each) => (each.type === "wait" && each.name === name ? [each.reason] : []))[0];
const look = (play: RepairPlay): readonly RepairDecision[] => decideRepairs(play.input, play.nowMs);

describe("remediation", () => {
  it("repairs nobody of a set that did not ask for it", () => {
    const play = fleet(10, { remediation: undefined });
    Object.assign(play.node("n00"), UNHEALTHY);
    expect(look(play)).toEqual([]);
  });

  it("repairs a node that has been unhealthy for long enough, and asks again when one will have been", () => {
    const play = fleet(10);
    Object.assign(play.node("n00"), UNHEALTHY);
    Object.assign(play.node("n01"), UNHEALTHY, { verdictSinceMs: play.nowMs - 4 * MINUTE });
    expect(look(play)).toEqual([
      expect.objectContaining({ type: "create", name: "n00", rungs: ["RestartUnits", "Reapply", "Repull", "Rejoin", "HandOver"] }),
      { type: "askAgain", atMs: play.nowMs + 6 * MINUTE },
    ]);
  });

  const hindrances: readonly [string, Partial<RepairNode>][] = [
    ["CellDisrupted", { disruption: "many nodes of its zone a fell silent together" }],
    [
      "UnderMaintenance",
      { maintenance: { owner: "Operator", ownerName: "ann", wanted: "drain", phase: "drained", message: "", revisitAtMs: undefined } },
    ],
    [
      "UnderMaintenance",
      { maintenance: { owner: "Rollout", ownerName: "web-1", wanted: "drain", phase: "drained", message: "", revisitAtMs: undefined } },
    ],
    ["RolloutHoldsNode", { rolloutHold: "rollout web-1 gave it generation 2" }],
  ];
  it.each(hindrances)("waits with %s", (reason, standing) => {
    const play = fleet(10);
    Object.assign(play.node("n00"), UNHEALTHY, standing);
    expect([createdOf(look(play)), waitOf(look(play), "n00")]).toEqual([[], reason]);
  });

  it("never touches a node whose health is unknown, for however long", () => {
    const play = fleet(10);
    Object.assign(play.node("n00"), { verdict: "unknown", verdictReason: "Silent", isUnavailable: true });
    play.pass(600 * MINUTE);
    expect(look(play)).toEqual([]);
  });

  it("waits outside the windows of its set's strategy, and looks again when they open", () => {
    const opening = { isOpen: false, reason: "Frozen", message: "until the new year", opensAtMs: 1_800_000_000_000 } as const;
    const play = fleet(10, { remediation: { ...playedSet("web").remediation!, opening } });
    Object.assign(play.node("n00"), UNHEALTHY);
    expect(waitOf(look(play), "n00")).toBe("Frozen");
    expect(look(play)).toContainEqual({ type: "askAgain", atMs: 1_800_000_000_000 });
  });

  it("has one in flight for each failure domain, and of a set a tenth", () => {
    const play = fleet(40);
    for (const name of ["n00", "n08", "n01", "n02", "n03", "n04"]) Object.assign(play.node(name), UNHEALTHY);
    const decisions = look(play);
    expect(createdOf(decisions)).toEqual(["n00", "n01", "n02", "n03"]);
    expect([waitOf(decisions, "n08"), waitOf(decisions, "n04")]).toEqual(["FailureDomainBusy", "SetRepairsSpent"]);
  });

  it.each([
    [10, 2, 1],
    [10, 3, 0],
    [20, 5, 2],
    [20, 6, 0],
    [3, 1, 1],
    [3, 2, 0],
  ])("of %i nodes with %i unhealthy begins %i: from 30 %% on it stops, but one alone is no mass failure", (size, unhealthy, begun) => {
    const play = fleet(size);
    for (let index = 0; index < unhealthy; index += 1) Object.assign(play.node(`n${String(index).padStart(2, "0")}`), UNHEALTHY);
    expect(createdOf(look(play))).toHaveLength(begun);
  });

  it("never has more than half of the fleet under repair", () => {
    const play = fleet(4, {});
    play.fleetSize = 4;
    for (let index = 0; index < 3; index += 1) play.ask(`n0${index}`, ["RestartUnits"]);
    const decisions = play.decide();
    expect(decisions.filter(({ type }) => type === "run")).toHaveLength(2);
    expect(waitOf(decisions, "n02")).toBe("FleetRepairsSpent");
    const alone = fleet(1);
    alone.fleetSize = 1;
    Object.assign(alone.node("n00"), UNHEALTHY);
    expect(waitOf(look(alone), "n00")).toBe("FleetRepairsSpent");
  });

  it("gives a node no second repair before an hour of health, also after a restart", () => {
    const play = fleet(10);
    const repair = play.ask("n00", ["RestartUnits"]);
    play.decide();
    play.answers(repair, true, "restarted");
    play.pass(MINUTE);
    play.decide();
    expect(play.status(repair).phase).toBe("Succeeded");
    play.becomes("n00", "unhealthy", "ContainerdDown");
    play.pass(30 * MINUTE);
    expect(waitOf(play.decide(), "n00")).toBe("RecentlyRepaired");
    play.becomes("n00", "healthy", "Beating");
    play.pass(59 * MINUTE);
    play.decide();
    expect(play.status(repair).clearedAt).toBeUndefined();
    play.pass(MINUTE);
    play.decide();
    expect(play.status(repair).clearedAt).toBeDefined();
    play.becomes("n00", "unhealthy", "ContainerdDown");
    play.pass(10 * MINUTE);
    expect(createdOf(look(play))).toEqual(["n00"]);
  });
});

describe("places of repairs (I3)", () => {
  it("counts a repair in maxUnavailable: one that is broken already may go while fewer than that are in change", () => {
    const play = fleet(10);
    play.sets.set("web", playedSet("web", { strategy: { ...playedSet("web").strategy, maxUnavailable: 1 } }));
    for (const name of ["n01", "n02"]) Object.assign(play.node(name), UNHEALTHY);
    expect(createdOf(look(play))).toEqual(["n01"]);
    play.ask("n05", ["Reboot"]);
    expect(waitOf(look(play), "n05")).toBe("BudgetSpent");
    Object.assign(play.node("n03"), { isInChange: true, isUnavailable: true });
    expect([createdOf(look(play)), waitOf(look(play), "n01")]).toEqual([[], "BudgetSpent"]);
  });

  it("counts it in topology budgets, also with what other sets of the cluster have in change, and keeps exclusive values apart", () => {
    const budgets = [{ topologyKey: "zone", atOnce: () => 1 }];
    const play = fleet(9, { cluster: "prod", strategy: { ...playedSet("web").strategy, maxUnavailable: 9, budgets } });
    play.sets.set("db", playedSet("db", { cluster: "prod" }));
    for (const node of play.nodes.values()) node.cluster = "prod";
    play.join("d0", "db", { cluster: "prod", labels: { zone: "a" }, isInChange: true, isUnavailable: true });
    play.ask("n00", ["Reboot"]);
    expect(waitOf(look(play), "n00")).toBe("TopologyBudgetSpent");
    play.sets.set(
      "web",
      playedSet("web", { cluster: "prod", strategy: { ...playedSet("web").strategy, maxUnavailable: 9, exclusive: "zone" } }),
    );
    expect(look(play).some(({ type }) => type === "begin")).toBe(true);
    play.ask("n01", ["Reboot"]);
    expect(waitOf(look(play), "n01")).toBe("Exclusive");
  });

  it("leaves control planes a quorum, one at a time, and a single one only where downtime is allowed", () => {
    const play = fleet(10);
    const members = (health: readonly boolean[]) => ({
      members: health.map((isHealthy, index) => ({ nodeId: `id-n0${index}`, name: `n0${index}`, isHealthy })),
    });
    for (let index = 0; index < 5; index += 1) play.node(`n0${index}`).controlPlaneScope = "prod";
    const reasonWith = (health: readonly boolean[] | undefined): string | undefined => {
      play.controlPlanes.set("prod", health === undefined ? { members: undefined } : members(health));
      return waitOf(look(play), "n00");
    };
    play.ask("n00", ["RestartUnits"]);
    expect(reasonWith(undefined)).toBe("QuorumUnknown");
    expect(reasonWith([true])).toBe("ControlPlaneDowntime");
    expect(reasonWith([true, true])).toBe("QuorumAtRisk");
    expect(reasonWith([true, true, false])).toBe("QuorumAtRisk");
    expect(reasonWith([false, true, true])).toBeUndefined();
    expect(reasonWith([true, true, true, false, true])).toBeUndefined();
    expect(reasonWith([true, true, true, false, false])).toBe("QuorumAtRisk");
    play.node("n01").isInChange = true;
    expect(reasonWith([true, true, true, true, true])).toBe("QuorumAtRisk");
    play.sets.set(
      "web",
      playedSet("web", { allowControlPlaneDowntime: true, strategy: { ...playedSet("web").strategy, maxUnavailable: 5 } }),
    );
    expect(reasonWith([true])).toBeUndefined();
  });

  it("gives a place away once in one look", () => {
    const play = fleet(10, { strategy: { ...playedSet("web").strategy, maxUnavailable: 1 } });
    play.ask("n00", ["Reboot"]);
    play.ask("n01", ["Reboot"]);
    const decisions = look(play);
    expect([decisions.filter(({ type }) => type === "begin").length, waitOf(decisions, "n01")]).toEqual([1, "BudgetSpent"]);
  });

  it("repairs what an operator has drained although the budget is spent: it is counted already; what a rollout has is left to it", () => {
    const play = fleet(10, { strategy: { ...playedSet("web").strategy, maxUnavailable: 1 } });
    const drained = {
      owner: "Operator",
      ownerName: "ann",
      wanted: "drain",
      phase: "drained",
      message: "",
      revisitAtMs: undefined,
    } as const;
    Object.assign(play.node("n00"), { maintenance: drained, isInChange: true, isUnavailable: true });
    Object.assign(play.node("n01"), UNHEALTHY);
    play.sets.set("web", { ...play.sets.get("web")!, remediation: undefined });
    play.ask("n00", ["RestartUnits"]);
    expect(look(play).filter(({ type }) => type === "begin")).toHaveLength(1);
    play.node("n00").rolloutHold = "rollout web-1 gave it generation 2";
    expect(waitOf(look(play), "n00")).toBe("RolloutHoldsNode");
  });

  it("lets two Repairs of one node never be in flight", () => {
    const play = fleet(10);
    const first = play.ask("n00", ["RestartUnits"]);
    play.pass(1_000);
    const second = play.ask("n00", ["Reboot"]);
    expect(waitOf(play.decide(), "n00")).toBe("RungRunning");
    expect([first, second].map((name) => isInFlight(play.repairs.get(name)!))).toEqual([true, false]);
  });

  it("lets an operator repair what a mass failure keeps remediation from, but nothing unknown or in a disrupted cell", () => {
    const play = fleet(10);
    for (const node of play.nodes.values()) Object.assign(node, UNHEALTHY);
    play.ask("n00", ["RestartUnits"]);
    expect(look(play).filter(({ type }) => type === "begin")).toHaveLength(1);
    play.node("n00").verdict = "unknown";
    expect(waitOf(look(play), "n00")).toBe("NodeUnknown");
    Object.assign(play.node("n00"), UNHEALTHY, { disruption: "zone a is disrupted" });
    expect(waitOf(look(play), "n00")).toBe("CellDisrupted");
  });
});

describe("one repair", () => {
  it("gathers evidence before it asks, and asks with the same request until there is an answer", () => {
    const play = fleet(10);
    const repair = play.ask("n00", ["RestartUnits"]);
    const runs = () => play.decide().flatMap((each) => (each.type === "run" ? [each.requestId] : []));
    expect([runs(), runs()]).toEqual([["uid-n00-1-1"], ["uid-n00-1-1"]]);
    expect(play.status(repair).attempts[0]).toMatchObject({ evidence: "uid-n00-1-1", outcome: "Running" });
  });

  it("believes only what was told after the rung: another boot, its generation enforced, its cluster asked", () => {
    const play = fleet(10);
    const node = play.node("n00");
    node.kubernetes = { ready: "True", readAtMs: 0 };
    node.maintenance = undefined;
    const repair = play.ask("n00", ["Reboot"]);
    play.decide();
    node.maintenance = { ...node.maintenance!, phase: "drained" };
    play.decide();
    play.answers(repair, true, "going down");
    play.nowMs += 5 * MINUTE;
    expect(play.decide()).toContainEqual(expect.objectContaining({ reason: "Checking", message: "it has not beaten since" }));
    node.lastBeatAtMs = play.nowMs;
    expect(play.decide()).toContainEqual(expect.objectContaining({ message: "it has not told of another boot" }));
    node.bootId = "boot-2";
    expect(play.decide()).toContainEqual(expect.objectContaining({ message: "its cluster has not been asked since" }));
    play.pass(1_000);
    node.plan = { ...node.plan!, hasOpenDrift: true };
    expect(play.decide()).toContainEqual(expect.objectContaining({ message: "it has drift that is not repaired" }));
    node.plan = { ...node.plan, hasOpenDrift: false };
    play.decide();
    expect(play.status(repair)).toMatchObject({ phase: "Succeeded", attempts: [{ outcome: "Helped" }] });
    expect(node.maintenance).toBeUndefined();
  });

  it("does not wait for the drain of a node whose kubelet is dead", () => {
    const play = fleet(10);
    Object.assign(play.node("n00"), UNHEALTHY, { kubernetes: { ready: "Unknown", readAtMs: play.nowMs } });
    play.ask("n00", ["Reboot"]);
    expect(play.decide()).toContainEqual(expect.objectContaining({ type: "run", rung: "Reboot" }));
  });

  it("fails a rung whose drain timed out, and does not reset a control plane", () => {
    const play = fleet(10);
    play.node("n00").kubernetes = { ready: "True", readAtMs: play.nowMs };
    const repair = play.ask("n00", ["Reboot", "HandOver"]);
    play.decide();
    expect(play.node("n00").maintenance?.wanted).toBe("drain");
    play.pass(11 * MINUTE);
    play.node("n00").maintenance = { ...play.node("n00").maintenance!, phase: "timedOut", message: "PodDisruptionBudget web" };
    play.decide();
    expect(play.status(repair).attempts[0]).toMatchObject({
      outcome: "Failed",
      message: expect.stringContaining("PodDisruptionBudget web") as string,
    });
    const plane = play.node("n01");
    Object.assign(plane, { controlPlaneScope: "x", plan: { ...plane.plan!, isJoining: true } });
    play.controlPlanes.set("x", { members: ["n01", "n02", "n03"].map((name) => ({ nodeId: `id-${name}`, name, isHealthy: true })) });
    const other = play.ask("n01", ["Rejoin"]);
    play.decide();
    expect(play.status(other)).toMatchObject({ phase: "Failed", attempts: [{ rung: "Rejoin", outcome: "Failed" }] });
  });

  it("is called off before its rung, but not while the node may be at it", () => {
    const play = fleet(10);
    const waiting = play.ask("n00", ["RestartUnits"]);
    play.cancel(waiting);
    play.decide();
    expect(play.status(waiting)).toMatchObject({ phase: "Cancelled", attempts: [] });
    const running = play.ask("n01", ["RestartUnits", "Reboot"]);
    play.decide();
    play.cancel(running);
    play.decide();
    expect(play.status(running).phase).toBe("Running");
    play.answers(running, true, "restarted");
    play.decide();
    expect(play.status(running)).toMatchObject({ phase: "Cancelled" });
  });

  it("gives its place back after an hour in which it could not go on, and when its node is gone", () => {
    const play = fleet(10);
    const repair = play.ask("n00", ["RestartUnits", "Reboot"]);
    play.decide();
    play.answers(repair, false, "MaskedUnit");
    play.becomes("n00", "unknown", "Silent");
    play.pass(30 * MINUTE);
    expect(waitOf(play.decide(), "n00")).toBe("NodeUnknown");
    play.pass(40 * MINUTE);
    play.decide();
    expect(play.status(repair)).toMatchObject({ phase: "Failed", reason: "NodeUnknown" });
    const second = play.ask("n01", ["RestartUnits"]);
    play.decide();
    play.nodes.delete("n01");
    play.decide();
    expect(play.status(second)).toMatchObject({ phase: "Failed", reason: "NodeGone" });
  });
});

describe("transcripts", () => {
  it("a node whose containerd has stopped climbs until it is handed to a person", async () => {
    const play = fleet(10);
    play.becomes("n03", "unhealthy", "ContainerdDown");
    play.decide();
    for (let minute = 0; minute < 60; minute += 1) {
      play.pass(MINUTE);
      play.decide();
      const running = play.repairs.get("n03-1");
      const attempt = running?.status?.attempts.at(-1);
      if (attempt?.askedAt === undefined || attempt.outcome !== "Running" || attempt.doneAt !== undefined) continue;
      play.answers("n03-1", attempt.rung !== "Repull", attempt.rung === "Repull" ? "RegistryUnreachable: no route" : "restarted");
    }
    expect(play.status("n03-1")).toMatchObject({ phase: "HandedOver" });
    await expect(play.text).toMatchFileSnapshot("transcripts/climbs-to-a-person.txt");
  });

  it("a worker is drained, rebooted and let back, while its zone is disrupted in between", async () => {
    const play = fleet(10, { cluster: "prod" });
    const node = play.node("n00");
    node.kubernetes = { ready: "True", readAtMs: play.nowMs };
    const repair = play.ask("n00", ["Reboot"]);
    play.decide();
    play.pass(2 * MINUTE);
    node.disruption = "many nodes of its zone a fell silent together";
    node.maintenance = { ...node.maintenance!, phase: "drained" };
    play.say("n00 is drained, and its zone is disrupted");
    play.decide();
    play.pass(3 * MINUTE);
    node.disruption = undefined;
    play.say("its zone is calm again");
    play.decide();
    play.answers(repair, true, "the machine goes down");
    play.becomes("n00", "unknown", "Silent");
    play.decide();
    play.pass(2 * MINUTE);
    node.bootId = "boot-2";
    play.becomes("n00", "healthy", "Beating");
    play.decide();
    play.pass(MINUTE);
    play.decide();
    expect(play.status(repair).phase).toBe("Succeeded");
    await expect(play.text).toMatchFileSnapshot("transcripts/drained-and-rebooted.txt");
  });
});
