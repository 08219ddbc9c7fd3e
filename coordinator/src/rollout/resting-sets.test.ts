import type { Rollout } from "@drover/api";
import { type Event, Impact } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MembershipIndex } from "../resources/membership-index.ts";
import { contentIn, resolveSet } from "../resources/revisions.ts";
import { keys } from "../store/keys.ts";
import { putJson } from "../store/values.ts";
import { RolloutSite, type Side, swappiness } from "./controller-fixture.ts";
import { decideAfresh } from "./decide.ts";
import { Fleets } from "./fleets.ts";
import { Prospects } from "./prospects.ts";
import { RestingSets } from "./resting-sets.ts";
import { rolloutInput } from "./rollout-input.ts";
import { statusOf } from "./rollout-status.ts";

let site: RolloutSite;
let side: Side;
beforeEach(async () => {
  site = await RolloutSite.make();
  side = await site.start();
  await site.enrol({ a: {}, b: {} });
});
afterEach(() => site.remove());

async function complete(soak = "0s"): Promise<void> {
  await site.rollOut(swappiness(10), { maxUnavailable: 2, soak });
  await site.until("both are moved", () => site.desired("b") !== undefined);
  for (const name of ["a", "b"]) site.ends(name, "enforced");
  await site.until("it is complete", () => site.rollout().phase === "Complete");
  await site.settle();
}

const stored = (): Rollout => side.catalog.objects("Rollout").get("web-1")!.value;

/** What a set at rest is not asked for: what decide() says of it. */
function judged(): { readonly decided: readonly string[]; readonly isStatusSaid: boolean } {
  const { catalog, fleet } = side;
  const rollout = stored();
  const set = catalog.objects("NodeSet").get("web")!.value;
  const target = resolveSet(set, contentIn(catalog));
  if (!target.ok) throw new Error(target.message);
  const parts = { catalog, fleet, stepKinds: () => undefined, disruptionOf: () => undefined, clusters: () => undefined };
  const members = new MembershipIndex(catalog, fleet).current().membersOf.get("web") ?? [];
  const gathered = new Fleets({ ...parts, prospects: new Prospects() }).of("web", members, rollout, target);
  const nowMs = site.clock.now();
  const input = rolloutInput({ catalog, set, rollout, nodeCount: gathered.length, hasMoved: true, waveGates: new Map(), nowMs });
  const decisions = decideAfresh(input, gathered, [], nowMs);
  const status = statusOf(rollout, decisions, nowMs, () => undefined);
  const decided = decisions.map(({ type }) => type).filter((type) => type !== "progress");
  return { decided, isStatusSaid: JSON.stringify(status) === JSON.stringify(rollout.status) };
}

const NOTHING = { decided: [], isStatusSaid: true };

/** Of a look that has seen nothing before. */
async function rests(resting = new RestingSets(side)): Promise<boolean> {
  return resting.rests("web", new MembershipIndex(side.catalog, side.fleet).current(), stored(), site.clock.now());
}

const drifts = (impact: Impact): Event[] => {
  const { planEpoch, generation } = site.desired("a")!;
  const changes = [{ path: "x", from: "", to: "y", impact, note: "" }];
  return [{ atMs: site.clock.now(), planEpoch, generation, body: { $case: "drift", value: { step: "sysctl", changes, repaired: false } } }];
};

describe("a set whose rollout is complete", () => {
  it("rests, and decide() has nothing to say of it, also when its nodes fall ill or drift in what their agents mend", async () => {
    await complete();
    expect(await rests()).toBe(true);
    side.fleet.setHealth("a", { verdict: "unhealthy", reason: "NotReachable" });
    site.report("b", drifts(Impact.IMPACT_LIVE));
    expect([await rests(), judged()]).toEqual([true, NOTHING]);
  });

  it("does not rest while it soaks, and does afterwards", async () => {
    await site.rollOut(swappiness(10), { maxUnavailable: 2, soak: "10s" });
    await site.until("both are moved", () => site.desired("b") !== undefined);
    for (const name of ["a", "b"]) site.ends(name, "enforced");
    await site.until("it soaks", () => site.desired("b")?.enforcedAtMs !== undefined);
    expect(await rests()).toBe(false);
    await site.until("it is complete", () => site.rollout().phase === "Complete");
    await site.settle(700_000);
    expect([await rests(), judged()]).toEqual([true, NOTHING]);
  });

  it("wakes for a node that drifts in what is disruptive, that is to join again, is held by maintenance, comes or goes", async () => {
    await complete();
    await side.stop();
    side = await site.start();
    const resting = new RestingSets(side);
    const look = async (nodeId: string): Promise<boolean> => {
      resting.touch(nodeId);
      return rests(resting);
    };
    expect(await rests(resting)).toBe(true);

    await site.settle(3_700_000);
    site.report("a", drifts(Impact.IMPACT_RESTART));
    expect(await look("a")).toBe(false);
    await site.until("its drift is mended by a new generation", () => site.desired("a")?.generation === 2);
    site.ends("a", "enforced");
    await site.until("it is complete", () => site.rollout().phase === "Complete");
    await site.settle();
    expect(await look("a")).toBe(true);

    await site.enrol({ c: {} });
    expect(await rests(resting)).toBe(false);
    await site.until("who came late is moved", () => site.desired("c") !== undefined);
    site.ends("c", "enforced");
    await site.until("it is complete", () => site.rollout().phase === "Complete" && site.rollout().total === 3);
    await site.settle();
    expect(await rests(resting)).toBe(true);

    const held = { nodeId: "b", owner: { kind: "Operator", name: "kim" }, wanted: "cordon", phase: "cordoned" };
    await site.commit([putJson(keys.maintenance("b"), held)]);
    expect(await look("b")).toBe(false);
  });

  it("is asked of 5,000 nodes in slices, and of one that was touched alone after that", async () => {
    await complete();
    const names = Array.from({ length: 5_000 }, (_, index) => `n${String(index).padStart(5, "0")}`);
    const members = names.map((name) => ({ nodeId: name, name, labels: {} }));
    const rollout = { ...stored(), status: { ...stored().status!, total: 5_000, updated: 5_000 } };
    const set = side.catalog.objects("NodeSet").get("web")!.value;
    const asked: string[] = [];
    const desired = { look: (nodeId: string) => (asked.push(nodeId), side.catalog.desired.look("a")) };
    const catalog = { desired, maintenances: new Map(), nodeRecords: { field: () => undefined } } as unknown as Side["catalog"];
    const resting = new RestingSets({ catalog, fleet: { node: () => side.fleet.node("a") } as unknown as Side["fleet"] });
    const membership = { membersOf: new Map([["web", members]]), setOf: new Map(names.map((name) => [name, set])), contestsOf: new Map() };
    const answer = resting.rests("web", membership, rollout, site.clock.now());
    expect(asked).toHaveLength(2_000);
    expect(await answer).toBe(true);
    expect(asked).toHaveLength(5_000);
    resting.touch("n00007");
    expect(await resting.rests("web", membership, rollout, site.clock.now())).toBe(true);
    expect(asked.slice(5_000)).toEqual(["n00007"]);
  });
});
