/** A machine gets no other's Node by what it says of itself. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Secret, VirtualClock } from "@drover/lifecycle";
import { ClustersFixture } from "./clusters-fixture.ts";
import { FakeClusterApi } from "./fake-cluster-api.ts";
import { testKubeconfig } from "./kubeconfig-fixture.ts";

const A = "aaaaaaaaaa";
const LABELS = { "drover.dev/node-set": "web" };
const JOINED = { conditions: [{ type: "Joined", status: "True", generation: 1, lastTransitionUnixMs: 7 } as never] };

describe("a Node that nobody has marked", () => {
  let clock: VirtualClock;
  let api: FakeClusterApi;
  let fixture: ClustersFixture;

  beforeEach(async () => {
    clock = new VirtualClock();
    api = new FakeClusterApi();
    fixture = new ClustersFixture(clock, () => Promise.resolve(api));
    fixture.start();
    await fixture.catalog.reached(0);
    await fixture.putCluster("prod", "uid-prod", new Secret(testKubeconfig()));
  });
  afterEach(() => fixture.stop());

  it.each([
    ["without our label", {}],
    ["with our label", LABELS],
  ])("is not a machine's that reports its name and that it joined: neither changed nor deleted, %s", async (_what, labels) => {
    api.putNode("cp1", { labels, taints: [{ key: "node-role.kubernetes.io/control-plane", value: "", effect: "NoSchedule" }] });
    api.putNode("w1", { labels });
    for (const nodeName of ["cp1", "w1"]) {
      await fixture.plan(A, "prod", 1, { nodeName });
      fixture.fleet.report(A, JOINED);
      await clock.advance(60_000);
      expect(fixture.clusters.kubernetesNodeOf(A)).toBeUndefined();
      expect(await fixture.ask(A, "prod")).toMatchObject({ ok: false, reason: "NodeNameTaken" });
    }
    expect([api.patches, [...api.stored.keys()], api.tokens.size]).toEqual([[], ["cp1", "w1"], 0]);
  });

  it("is the machine's that a token was minted for when there was none, also for the next coordinator", async () => {
    await fixture.plan(A, "prod");
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
    fixture.kill();
    api.putNode(`${A}-host`, { labels: LABELS });
    const next = new ClustersFixture(clock, () => Promise.resolve(api), fixture.store);
    next.adoptKeyOf(fixture);
    next.start();
    fixture = next;
    await next.catalog.reached(0);
    await clock.advance(60_000);
    expect(api.stored.get(`${A}-host`)?.annotations["drover.dev/node"]).toBe(A);
    expect(next.clusters.kubernetesNodeOf(A)).toMatchObject({ nodeName: `${A}-host` });
  });

  it("goes when its machine asks again after a join that got as far as that, before anybody marked it", async () => {
    await fixture.plan(A, "prod");
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
    api.putNode(`${A}-host`, { labels: LABELS });
    expect(await fixture.ask(A, "prod")).toMatchObject({ ok: true });
    expect(api.stored.size).toBe(0);
  });
});
