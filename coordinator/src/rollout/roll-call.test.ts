import { describe, expect, it } from "vitest";
import type { FleetNode, ResolvedStrategy, RolloutInput } from "./model.ts";
import { DECIDED_MS, desiredOf, nodeOf, NOW_MS, observedOf, plans, rolloutOf } from "./nodes-fixture.ts";
import { DONE, FRESH, ordered, RESTLESS, RollCall, rollCallOf } from "./roll-call.ts";

const orderOf = (nodes: readonly FleetNode[], strategy: Partial<ResolvedStrategy> = {}): string =>
  [...ordered(nodes, { canary: undefined, order: undefined, ...strategy })].map((index) => nodes[index]!.nodeId).join(" ");
const node = (nodeId: string, name: string, labels: Record<string, string> = {}): FleetNode => nodeOf({ nodeId, name, labels });

describe("the order of nodes", () => {
  it.each<[string, FleetNode[], Partial<ResolvedStrategy>, string]>([
    ["is by name", [node("1", "c"), node("2", "a"), node("3", "b")], {}, "2 3 1"],
    ["stays where it is sorted", [node("1", "a"), node("2", "b")], {}, "1 2"],
    ["is by id where names are the same", [node("2", "a"), node("1", "a"), node("0", "b")], {}, "1 2 0"],
    [
      "is by the strategy's values first, others last",
      [node("1", "a"), node("2", "b", { role: "web" }), node("3", "c", { role: "db" }), node("4", "d", { role: "db" })],
      { order: { key: "role", values: ["db", "web"] } },
      "3 4 2 1",
    ],
    [
      "is by canary's preference before anything else",
      [node("1", "a", { role: "db" }), node("2", "b"), node("3", "c", { spare: "1" }), node("4", "d", { role: "db", spare: "1" })],
      {
        canary: { nodes: 1, soakMs: 0, prefers: ({ spare }) => spare === "1" },
        order: { key: "role", values: ["db"] },
      },
      "4 3 1 2",
    ],
  ])("%s", (_case, nodes, strategy, wanted) => {
    expect(orderOf(nodes, strategy)).toBe(wanted);
  });
});

describe("a node is sorted out as", () => {
  const ease = (change: Partial<FleetNode>, strategy: Partial<ResolvedStrategy> = {}): number =>
    new RollCall(rolloutOf({}, strategy), [nodeOf(change)], NOW_MS).ease[0]!;
  it.each<[string, Partial<FleetNode>, number]>([
    ["fresh when never decided", {}, FRESH],
    ["fresh at an old revision", plans["settled at an old revision"]!, FRESH],
    ["fresh when it enforces more than we know of", plans["a later generation enforced"]!, FRESH],
    ["restless when it enforces less", plans["an earlier generation enforced"]!, RESTLESS],
    ["restless when it is to join again", plans["settled, to join again"]!, RESTLESS],
    ["restless until it is settled", plans["enforced"]!, RESTLESS],
    ["restless when its plan is sent", plans["sent"]!, RESTLESS],
    ["restless when it failed", plans["failed"]!, RESTLESS],
    ["restless when its gates fail", plans["settled, gates failing"]!, RESTLESS],
    ["done when settled", plans["enforced and settled"]!, DONE],
    ["restless when unhealthy", { verdict: "unhealthy" }, RESTLESS],
    ["restless behind an obstacle", { obstacle: { reason: "Revoked", message: "" } }, RESTLESS],
    ["restless in a disrupted cell", { disruption: "rack 1" }, RESTLESS],
    ["restless when it drifts", { drift: { impact: "restart", sinceMs: 0 } }, RESTLESS],
  ])("%s", (_case, change, wanted) => {
    expect(ease(change)).toBe(wanted);
  });

  it("done when the longest soak of all waves is over, not before", () => {
    const settled = { desired: desiredOf({ enforcedAtMs: DECIDED_MS }), observed: observedOf("enforced") };
    const soaked = NOW_MS - DECIDED_MS;
    const canary = (soakMs: number): ResolvedStrategy["canary"] => ({ nodes: 1, soakMs, prefers: () => false });
    expect([ease(settled, { soakMs: soaked }), ease(settled, { soakMs: soaked + 1 })]).toEqual([DONE, RESTLESS]);
    expect([ease(settled, { canary: canary(soaked) }), ease(settled, { canary: canary(soaked + 1) })]).toEqual([DONE, RESTLESS]);
  });
});

describe("what is remembered", () => {
  const fleet = [node("1", "a", { zone: "x" }), node("2", "b", { zone: "y" })];
  const follows = (
    changed: readonly FleetNode[],
    change: Partial<RolloutInput> = {},
    strategy: Partial<ResolvedStrategy> = {},
    now = NOW_MS,
  ) => new RollCall(rolloutOf(), fleet, NOW_MS).follow(rolloutOf(change, strategy), changed, now);

  it("follows nodes that change, and looks at those only", () => {
    const call = new RollCall(rolloutOf(), fleet, NOW_MS);
    const changed = [fleet[0]!, { ...fleet[1]!, verdict: "unknown" as const, impact: "reboot" as const }];
    expect(call.follow(rolloutOf(), changed, NOW_MS + 1)).toBe(true);
    expect([...call.ease]).toEqual([FRESH, RESTLESS]);
    expect([call.impact(0), call.impact(1), call.node(1).verdict]).toEqual(["live", "reboot", "unknown"]);
    expect(call.follow(rolloutOf(), fleet, NOW_MS)).toBe(false);
  });

  it.each<[string, readonly FleetNode[]]>([
    ["a node more", [...fleet, node("3", "c")]],
    ["another name", [fleet[0]!, { ...fleet[1]!, name: "z" }]],
    ["another id", [fleet[0]!, { ...fleet[1]!, nodeId: "9" }]],
    ["another label's value", [fleet[0]!, { ...fleet[1]!, labels: { zone: "z" } }]],
    ["a label more", [fleet[0]!, { ...fleet[1]!, labels: { zone: "y", rack: "1" } }]],
    ["a label less", [fleet[0]!, { ...fleet[1]!, labels: {} }]],
    ["another label", [fleet[0]!, { ...fleet[1]!, labels: { rack: "y" } }]],
  ])("is made anew for %s", (_case, changed) => {
    expect(follows(changed)).toBe(false);
  });

  it.each<[string, Partial<RolloutInput>, Partial<ResolvedStrategy>]>([
    ["revision", { revision: "B" }, {}],
    ["strategy", {}, { digest: "other" }],
    ["soak", {}, { soakMs: 1 }],
    ["exclusive key", {}, { exclusive: "role" }],
    ["canary", {}, { canary: { nodes: 1, soakMs: 0, prefers: () => false } }],
    ["budget", {}, { budgets: [{ topologyKey: "zone", atOnce: () => 1 }] }],
  ])("is made anew for another %s", (_case, change, strategy) => {
    expect(follows(fleet, change, strategy)).toBe(false);
  });

  it("stays for labels that are equal, in another object", () => {
    expect(follows([fleet[0]!, { ...fleet[1]!, labels: { zone: "y" } }])).toBe(true);
  });

  it("is forgotten by what was used least recently, when more than 200 rollouts are", () => {
    const named = (name: string) => rolloutOf({ name });
    const call = (name: string, nodes: readonly FleetNode[] = fleet) => rollCallOf(named(name), nodes, NOW_MS);
    const [oldest, used] = [call("forget-0"), call("forget-1")];
    for (let index = 2; index < 200; index += 1) call(`forget-${index}`);
    expect(call("forget-0")).toBe(oldest);
    call("forget-200");
    expect(call("forget-0")).toBe(oldest);
    expect(call("forget-1")).not.toBe(used);
  });
});
