import { Plan } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { acknowledgedReports, type Checker, disruptionBudget, persistedFirst, risingPairs, silentZones, zoneBudget } from "./invariants.ts";
import type { Observation } from "./observations.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const pair = (generation: number) => ({ planEpoch: 1, generation });
const decided = (node: string, generation: number, revision = `r${generation}`): Observation => ({
  type: "decided",
  node,
  revision,
  rollout: "web-1",
  ...pair(generation),
});
const planOf = (generation: number): Plan =>
  Plan.fromPartial({
    ...pair(generation),
    steps: [
      { id: "sysctl", spec: { $case: "sysctl", value: { values: { "vm.swappiness": String(generation) } } } },
      { id: "containerd", spec: { $case: "containerd", value: {} } },
      { id: "images", spec: { $case: "images", value: { images: [{ name: "r.example/a:1", digest: DIGEST }] } } },
    ],
  });
const accepted = (generation: number): Observation => ({ type: "accepted", node: "a", plan: planOf(generation), ...pair(generation) });
const intent = (generation: number, kind: "sysctl" | "containerd" | "images"): Observation => ({
  type: "intent",
  node: "a",
  kind,
  ...pair(generation),
});
const ended = (generation: number, outcome = "enforced", isOver = true, node = "a"): Observation => ({
  type: "ended",
  node,
  outcome,
  isOver,
  ...pair(generation),
});
const effect = (kind: string, target: string, value = ""): Observation => ({ type: "effect", node: "a", kind, target, value });
const report = (type: "acknowledged" | "freed", seq: number): Observation => ({ type, node: "a", epoch: "e", seq });
const logged = (seq: number, digest = seq): Observation => ({ type: "logged", node: "a", epoch: "e", seq, digest });

/** All that a checker says about them, in order. */
function told(checker: Checker, observations: readonly Observation[]): readonly (string | undefined)[] {
  return observations.map((observation) => checker.see(observation)).filter((message) => message !== undefined);
}

describe("I2", () => {
  it("takes pairs that rise, a settled decision written again, and finds an older, an equal and another decision", () => {
    expect(told(risingPairs(), [decided("a", 1), decided("a", 1), accepted(1), decided("a", 2), accepted(2)])).toEqual([]);
    expect(told(risingPairs(), [accepted(2), accepted(1)])).toEqual(["a accepted (1, 1) after (1, 2)"]);
    expect(told(risingPairs(), [accepted(2), accepted(2)])).toEqual(["a accepted (1, 2) after (1, 2)"]);
    expect(told(risingPairs(), [decided("a", 2), decided("a", 1)])).toHaveLength(1);
    expect(told(risingPairs(), [decided("a", 2, "x"), decided("a", 2, "y")])).toHaveLength(1);
  });
});

describe("I3", () => {
  it("counts a node from its decision until its journal says that it is over, and a failed one that tries again all the time", () => {
    expect(told(disruptionBudget(1), [decided("a", 1), ended(1), decided("a", 1), decided("b", 1)])).toEqual([]);
    expect(told(disruptionBudget(1), [decided("a", 1), decided("a", 2), ended(2), decided("b", 1)])).toEqual([]);
    expect(told(disruptionBudget(1), [decided("a", 1), decided("b", 1)])).toEqual(["2 nodes are in change, 1 are allowed: a, b"]);
    expect(told(disruptionBudget(1), [decided("a", 1), ended(1, "failed", false), decided("b", 1)])).toHaveLength(1);
    expect(told(disruptionBudget(1), [decided("a", 2), ended(1), decided("b", 1)])).toHaveLength(1);
  });
});

describe("I5", () => {
  it("finds an ack for what is not in the log, one across a hole, one seq with two contents, and what is freed without an ack", () => {
    expect(told(acknowledgedReports(), [logged(2), logged(1), logged(1), report("acknowledged", 2), report("freed", 2)])).toEqual([]);
    expect(told(acknowledgedReports(), [report("acknowledged", 1)])).toEqual(["a/e was acknowledged through 1, the log has 0"]);
    expect(told(acknowledgedReports(), [logged(1), logged(3), report("acknowledged", 3)])).toHaveLength(1);
    expect(told(acknowledgedReports(), [logged(1), logged(1, 9)])).toEqual(["a/e/1 is in the log with two contents"]);
    expect(told(acknowledgedReports(), [logged(1), report("freed", 1)])).toEqual(["a/e freed through 1, acknowledged was 0"]);
  });
});

describe("persisted first", () => {
  it("allows what a durable intent names, and drift repair of what is enforced", () => {
    const change = [
      accepted(1),
      intent(1, "sysctl"),
      effect("files.write", "/etc/sysctl.d/90-drover.conf"),
      effect("kernel.writeSysctl", "vm.swappiness", "1"),
      intent(1, "containerd"),
      effect("files.write", "/etc/containerd/config.toml"),
      effect("units.restart", "containerd.service"),
      intent(1, "images"),
      effect("containerd.pull", `r.example/a@${DIGEST}`),
    ];
    const repair = [ended(1), effect("kernel.writeSysctl", "vm.swappiness", "1"), effect("containerd.putImage", "r.example/a:1", DIGEST)];
    expect(told(persistedFirst(), [...change, ...repair])).toEqual([]);
    // I4: undone where nothing was enforced before.
    const undone = [accepted(1), intent(1, "sysctl"), effect("kernel.writeSysctl", "vm.swappiness", "60")];
    expect(told(persistedFirst({ "vm.swappiness": "60" }), undone)).toEqual([]);
    expect(told(persistedFirst({ "vm.swappiness": "61" }), undone)).toHaveLength(1);
    expect(told(persistedFirst({ "vm.swappiness": "60" }), [accepted(1), undone[2]!])).toHaveLength(1);
    const setByOthers: Observation = { type: "drifted", node: "a", target: "vm.swappiness", value: "60" };
    expect(told(persistedFirst(), [setByOthers, ...undone])).toEqual([]);
    expect(told(persistedFirst(), [setByOthers, accepted(1), undone[2]!])).toHaveLength(1);
    // What an earlier plan had confirmed, before it was superseded, is what the later one found.
    const superseding = [accepted(1), intent(1, "sysctl"), accepted(2), intent(2, "sysctl")];
    const undoing: Observation = { type: "tried", node: "a", phase: "undoing", ...pair(2) };
    const back = effect("kernel.writeSysctl", "vm.swappiness", "1");
    expect(told(persistedFirst(), [...superseding, undoing, back])).toEqual([]);
    expect(told(persistedFirst(), [...superseding, back])).toHaveLength(1);
    expect(told(persistedFirst(), [...superseding, undoing, { type: "untried", node: "a" }, back])).toHaveLength(1);
  });

  it("allows a restart for each time that a repair asks, and once more for an agent that was killed in it", () => {
    const attempt = { rung: "RestartUnits", startedAt: "", askedAt: "", outcome: "Running", message: "" };
    const repair = (...attempts: readonly object[]): Observation =>
      ({ type: "repair", name: "a-1", node: "a", repair: { status: { attempts } } }) as unknown as Observation;
    const restart = effect("units.restart", "containerd.service");
    const killed: Observation = { type: "life", node: "a", isRunning: false, boot: 1 };
    expect(told(persistedFirst(), [restart])).toHaveLength(1);
    expect(told(persistedFirst(), [repair(attempt), restart])).toEqual([]);
    expect(told(persistedFirst(), [repair(attempt), restart, restart])).toHaveLength(1);
    expect(told(persistedFirst(), [repair(attempt), restart, killed, restart])).toEqual([]);
    expect(told(persistedFirst(), [repair(attempt), restart, repair({ ...attempt, doneAt: "" }), killed, restart])).toHaveLength(1);
  });

  it.each([
    ["a value before any plan", [effect("kernel.writeSysctl", "vm.swappiness", "1")]],
    ["a value before its intent", [accepted(1), effect("kernel.writeSysctl", "vm.swappiness", "1")]],
    [
      "a value of a newer plan that has no intent yet",
      [accepted(1), intent(1, "sysctl"), accepted(2), effect("kernel.writeSysctl", "vm.swappiness", "2")],
    ],
    ["a restart when only the sysctl step may work", [accepted(1), intent(1, "sysctl"), effect("units.restart", "containerd.service")]],
    [
      "a restart when the plan is enforced already",
      [accepted(1), intent(1, "containerd"), ended(1), effect("units.restart", "containerd.service")],
    ],
    ["an image that no plan names", [accepted(1), intent(1, "images"), effect("containerd.pull", `r.example/b@sha256:${"b".repeat(64)}`)]],
    ["an effect of a kind that nobody knows", [accepted(1), intent(1, "sysctl"), effect("kernel.reboot", "")]],
    ["an intent of a plan that is not accepted", [intent(1, "sysctl")]],
  ])("finds %s", (_what, observations) => {
    expect(told(persistedFirst(), observations)).toHaveLength(1);
  });
});

describe("I3 in each zone", () => {
  it("counts each zone on its own", () => {
    const zones: Readonly<Record<string, string>> = { a: "z1", b: "z1", c: "z2" };
    const checker = zoneBudget(1, (node) => zones[node]);
    expect(told(checker, [decided("a", 1), decided("c", 1), decided("x", 1), decided("b", 1)])).toEqual([
      "z1: 2 nodes are in change, 1 are allowed: a, b",
    ]);
    expect(told(checker, [ended(1), decided("a", 2)])).toHaveLength(1);
  });
});

describe("a zone that is silent", () => {
  it("has a minute to be noticed; then nothing begins there until it is back, and what was decided may be written again", () => {
    let nowMs = 0;
    const checker = silentZones(() => nowMs);
    const zone = (isSilent: boolean): Observation => ({ type: "zone", zone: "z1", nodes: ["a", "b"], isSilent });
    expect(told(checker, [decided("b", 1), zone(true), decided("a", 1)])).toEqual([]);
    nowMs = 61_000;
    expect(told(checker, [decided("a", 1), decided("c", 1)])).toEqual([]);
    expect(told(checker, [decided("b", 2)])).toEqual(["b was moved although its zone has been silent for 61 s"]);
    expect(told(checker, [zone(false), decided("a", 2)])).toEqual([]);
  });
});
