import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Secret, VirtualClock } from "@drover/lifecycle";
import { ClusterApiError } from "./cluster-api.ts";
import { ClustersFixture, JOIN_STEP } from "./clusters-fixture.ts";
import { FakeClusterApi } from "./fake-cluster-api.ts";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { testKubeconfig } from "./kubeconfig-fixture.ts";

const A = "aaaaaaaaaa";
const B = "bbbbbbbbbb";

async function world(options: { readonly store?: Store; readonly isSwept?: boolean } = {}) {
  const clock = new VirtualClock();
  const api = new FakeClusterApi();
  const fixture = new ClustersFixture(clock, () => Promise.resolve(api), options.store);
  fixture.start({ isSwept: options.isSwept ?? true });
  await fixture.catalog.reached(0);
  await fixture.putCluster("prod", "uid-prod", new Secret(testKubeconfig()));
  await fixture.plan(A, "prod");
  return { clock, api, fixture };
}

const step = (outcome: string, atUnixMs: number) => ({ steps: [{ step: JOIN_STEP, outcome, atUnixMs } as never] });

describe("bootstrap tokens", () => {
  it("mints for the node's own plan alone", async () => {
    const { fixture, api } = await world();
    expect(await fixture.ask(B, "prod")).toMatchObject({ ok: false, reason: "NotPlanned" });
    expect(await fixture.ask(A, "other")).toMatchObject({ ok: false, reason: "NotPlanned" });
    expect(await fixture.ask(A, "prod", 2)).toMatchObject({ ok: false, reason: "NotPlanned" });
    await fixture.plan(B, "");
    expect(await fixture.ask(B, "")).toMatchObject({ ok: false, reason: "NotPlanned" });
    await fixture.commit([putJson(keys.restored, {})]);
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: false, reason: "NotPlanned" });
    await fixture.commit([{ type: "delete", key: keys.restored }]);
    await fixture.revoke(A);
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: false, reason: "NotPlanned" });
    expect([api.tokens.size, (await fixture.records()).length]).toEqual([0, 0]);
    await fixture.stop();
  });

  it("mints none for a generation that the node has done, and again for the next", async () => {
    const { fixture, api } = await world();
    fixture.fleet.report(A, { ...step("changed", 5), outcome: "enforced" });
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: false, reason: "NotPlanned" });
    expect(api.tokens.size).toBe(0);
    await fixture.plan(A, "prod", 2, { rejoin: 1 });
    expect(await fixture.ask(A, "prod", 2)).toMatchObject({ ok: true });
    await fixture.stop();
  });

  it("stores the public half only, with an audit record, before the token is there", async () => {
    const { fixture, api } = await world();
    let recordsAtCreation = 0;
    api.hook = (what, moment) => {
      if (what === "createBootstrapToken" && moment === "before") recordsAtCreation = fixture.catalog.bootstrapTokens.size;
    };
    const answer = await fixture.ask(A, "prod");
    if (!answer.ok) throw new Error(answer.message);
    expect(recordsAtCreation).toBe(1);
    const [tokenId, secret] = answer.token.reveal().split(".");
    expect([...api.tokens.keys()]).toEqual([tokenId]);
    const { entries } = await fixture.store.list("");
    const text = entries.map(({ value }) => Buffer.from(value).toString("utf8")).join("\n");
    expect([text.includes(tokenId!), text.includes(secret!), text.includes("MintBootstrapToken")]).toEqual([true, false, true]);
    await fixture.stop();
  });

  it.each([
    ["the step's success", step("changed", 5)],
    ["the step's failure", step("failed", 5)],
    ["the plan's end", { outcome: "failed" as const }],
    ["a newer plan", { observedGeneration: 2 }],
  ])("deletes the token after %s is reported, and not before", async (_what, report) => {
    const { fixture, api, clock } = await world();
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
    fixture.fleet.report(A, step("running", 1));
    await clock.advance(10);
    expect(api.tokens.size).toBe(1);
    fixture.fleet.report(A, report);
    await clock.advance(10);
    expect([api.tokens.size, (await fixture.records()).length]).toEqual([0, 0]);
    await fixture.stop();
  });

  it("keeps the token while an agent that was started again tells what it last knew: that it had joined", async () => {
    const { fixture, api, clock } = await world();
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
    fixture.fleet.report(A, { conditions: [{ type: "Joined", status: "True", generation: 1, lastTransitionUnixMs: 7 } as never] });
    await clock.advance(10);
    expect([api.tokens.size, (await fixture.records()).length]).toEqual([1, 1]);
    await fixture.stop();
  });

  it("does not take the report of the try before for one of this token", async () => {
    const { fixture, api, clock } = await world();
    fixture.fleet.report(A, { ...step("failed", 5), outcome: "failed" });
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
    fixture.fleet.report(A, step("running", 6));
    await clock.advance(1000);
    expect(api.tokens.size).toBe(1);
    fixture.fleet.report(A, step("failed", 8));
    await clock.advance(10);
    expect(api.tokens.size).toBe(0);
    await fixture.stop();
  });

  it("deletes the token of a node that is revoked, of one that is deleted, and of a cluster that is given up", async () => {
    for (const end of ["revoked", "deleted", "cluster"]) {
      const { fixture, api, clock } = await world();
      expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
      if (end === "revoked") await fixture.revoke(A);
      if (end === "deleted") await fixture.commit([{ type: "delete", key: keys.node(A) }]);
      if (end === "cluster") {
        const removed = await fixture.resources.remove(
          { kind: "Cluster", name: "prod", expectedResourceVersion: 0, actor: "operator:x" },
          false,
        );
        expect(removed).toMatchObject({ ok: true });
        expect(await fixture.store.get(keys.secret("kubeconfig", "prod"))).toBeUndefined();
      }
      await clock.advance(10);
      expect([end, api.tokens.size, (await fixture.records()).length]).toEqual([end, 0, 0]);
      await fixture.stop();
    }
  });

  it("deletes a token at its end though nobody reports, and tries until the cluster answers", async () => {
    const { fixture, api, clock } = await world();
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
    await clock.advance(14 * 60_000);
    expect(api.tokens.size).toBe(1);
    api.failure = new ClusterApiError("Unreachable", "cut");
    await clock.advance(10 * 60_000);
    expect([api.tokens.size, (await fixture.records()).length]).toEqual([1, 1]);
    api.failure = undefined;
    await clock.advance(60_000);
    expect([api.tokens.size, (await fixture.records()).length]).toEqual([0, 0]);
    await fixture.stop();
  });

  it("leaves tokens of another adoption of the same cluster alone", async () => {
    const { fixture, api, clock } = await world();
    api.tokens.set("theirs", { nodeId: B, adoption: "uid-of-another-coordinator", expiresAtMs: 0 });
    api.tokens.set("lost", { nodeId: B, adoption: "uid-prod", expiresAtMs: 0 });
    await clock.advance(61_000);
    expect([...api.tokens.keys()]).toEqual(["theirs"]);
    await fixture.stop();
  });

  it("deletes the Node that its machine left, and no other's", async () => {
    const { fixture, api } = await world();
    api.putNode(`${A}-host`, { labels: {} });
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: false, reason: "NodeNameTaken" });
    api.putNode(`${A}-host`, { labels: { "drover.dev/node-set": "web" }, annotations: { "drover.dev/node": B } });
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: false, reason: "NodeNameTaken" });
    expect([api.stored.size, api.tokens.size]).toEqual([1, 0]);
    api.putNode(`${A}-host`, { annotations: { "drover.dev/node": A } });
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
    expect([api.stored.size, api.tokens.size]).toEqual([0, 1]);
    await fixture.plan(B, "prod", 1, { nodeName: `${A}-host` });
    expect(await fixture.ask(B, "prod")).toMatchObject({ ok: false, reason: "NodeNameTaken" });
    await fixture.stop();
  });

  it("never has more than one live token for a node, and none in the end, whatever is asked, reported and lost", async () => {
    const action = fc.oneof(
      fc.record({ do: fc.constant("ask" as const), node: fc.constantFrom(A, B) }),
      fc.record({ do: fc.constant("report" as const), node: fc.constantFrom(A, B) }),
      fc.record({
        do: fc.constant("lose" as const),
        at: fc.constantFrom("createBootstrapToken", "deleteBootstrapToken"),
        moment: fc.constantFrom("before" as const, "after" as const),
      }),
      fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 200_000 }) }),
    );
    const property = fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 12 }), async (actions) => {
      const { fixture, api, clock } = await world();
      await fixture.plan(B, "prod");
      let reports = 0;
      const asked: Promise<unknown>[] = [];
      for (const each of actions) {
        if (each.do === "ask") asked.push(fixture.ask(each.node, "prod"));
        if (each.do === "report") fixture.fleet.report(each.node, step("changed", (reports += 1)));
        if (each.do === "pass") await clock.advance(each.ms);
        if (each.do === "lose") {
          api.hook = (what, moment) => {
            if (what !== each.at || moment !== each.moment) return;
            api.hook = () => undefined;
            throw new ClusterApiError("Unreachable", "lost");
          };
        }
        const holders = [...api.tokens.values()].map(({ nodeId }) => nodeId);
        expect(new Set(holders).size).toBe(holders.length);
      }
      await clock.advance(0);
      await Promise.all(asked);
      await clock.advance(17 * 60_000);
      expect([api.tokens.size, (await fixture.records()).length]).toEqual([0, 0]);
      await fixture.stop();
    });
    await fc.assert(property, { numRuns: 60 });
  });

  it("leaves no token for longer than a sweep when it is killed at any write and any call of minting and deleting", async () => {
    let points = 0;
    for (let isOver = false; !isOver; points += 1) {
      const point = points;
      const inner = memoryStore();
      let passed = 0;
      let isDead = false;
      let isArmed = false;
      const reach = (): void => {
        if (isDead) throw new Error("killed");
        if (!isArmed) return;
        if (passed === point) isDead = true;
        passed += 1;
        if (isDead) throw new Error("killed");
      };
      const commit: Store["commit"] = async (operations) => {
        reach();
        const committed = await inner.commit(operations);
        reach();
        return committed;
      };
      const store: Store = {
        get: (key) => inner.get(key),
        list: (prefix) => inner.list(prefix),
        watch: (prefix, from, signal) => inner.watch(prefix, from, signal),
        close: () => inner.close(),
        commit,
      };
      const { fixture, api, clock } = await world({ store, isSwept: false });
      isArmed = true;
      api.hook = reach;
      // Minted twice, the first one's answer lost: a record, a token, a deletion, another record, another token.
      await fixture.ask(A, "prod").catch(() => undefined);
      await fixture.ask(A, "prod").catch(() => undefined);
      isOver = !isDead;
      fixture.kill();
      [isArmed, isDead] = [false, false];
      api.hook = () => undefined;
      const next = new ClustersFixture(clock, () => Promise.resolve(api), inner);
      next.adoptKeyOf(fixture);
      next.start();
      await next.catalog.reached(0);
      await clock.advance(10);
      // What has a record may be a live join's: it goes with its end. All else is gone at once.
      const recorded = new Set((await next.records()).map(({ tokenId }) => tokenId));
      expect([...api.tokens.keys()].filter((id) => !recorded.has(id))).toEqual([]);
      await clock.advance(16 * 60_000);
      expect([api.tokens.size, (await next.records()).length]).toEqual([0, 0]);
      await next.stop();
    }
    expect(points).toBeGreaterThan(8);
  });
});
