import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { VirtualClock } from "@drover/lifecycle";
import { ClusterApiError, CORDON_ANNOTATION } from "../cluster/cluster-api.ts";
import { keys } from "../store/keys.ts";
import { putJson } from "../store/values.ts";
import { A, A_NODE, B, B_NODE, MaintenanceFixture } from "./maintenance-fixture.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const BUDGET = { outcome: "held", budget: "web", message: "The disruption budget web needs 2 healthy pods and has 2 currently" } as const;

let clock: VirtualClock;
let fixture: MaintenanceFixture;

beforeEach(async () => {
  clock = new VirtualClock();
  fixture = new MaintenanceFixture(clock);
  await fixture.make();
});
afterEach(() => fixture.stop());

/** Until nothing moves any more, as a kubelet lets it. */
async function settle(ms = 5 * SECOND): Promise<void> {
  await clock.advance(ms);
  fixture.endTerminating();
  await clock.advance(ms);
}

describe("a drain", () => {
  it("cordons, lets all pods go but those of DaemonSets, mirrors and the finished, waits for their end, and uncordons when released", async () => {
    const { api } = fixture;
    api.putPod("default/web-1", A_NODE);
    api.putPod("default/alone", A_NODE, { controllerKind: undefined });
    api.putPod("kube-system/proxy", A_NODE, { controllerKind: "DaemonSet" });
    api.putPod("kube-system/static", A_NODE, { isMirror: true, controllerKind: "Node" });
    api.putPod("default/job", A_NODE, { phase: "Succeeded", controllerKind: "Job" });
    api.putPod("default/elsewhere", B_NODE);
    await fixture.want("drain");
    await clock.advance(SECOND);
    expect(fixture.isCordoned()).toBe(true);
    expect(api.evictions).toEqual(["default/alone", "default/web-1"]);
    expect(await fixture.record()).toMatchObject({ phase: "draining", message: "waits for pod default/alone to end, and for 1 more" });
    fixture.endTerminating();
    await clock.advance(3 * SECOND);
    expect(await fixture.record()).toMatchObject({ phase: "drained", message: "", wasCordoned: false });
    expect([...api.pods.keys()]).toEqual(["kube-system/proxy", "kube-system/static", "default/job", "default/elsewhere"]);
    await clock.advance(10 * MINUTE);
    expect(await fixture.record()).toMatchObject({ phase: "drained" });
    expect(fixture.isCordoned()).toBe(true);
    await fixture.release();
    await clock.advance(SECOND);
    expect(fixture.isCordoned()).toBe(false);
    expect(api.stored.get(A_NODE)?.annotations[CORDON_ANNOTATION]).toBeUndefined();
    expect(await fixture.record()).toBeUndefined();
    expect(fixture.isCordoned(B_NODE)).toBe(false);
  });

  it("that a PodDisruptionBudget holds up says so, tries again ever less often, and goes on when it yields", async () => {
    const { api } = fixture;
    for (const pod of ["default/web-1", "default/web-2", "default/other"]) api.putPod(pod, A_NODE);
    api.held.set("default/web-1", BUDGET);
    api.held.set("default/web-2", BUDGET);
    let asked = 0;
    api.hook = (what, moment) => {
      if (what === "evict" && moment === "before") asked += 1;
    };
    await fixture.want("drain");
    await clock.advance(MINUTE);
    const message =
      "PodDisruptionBudget default/web allows none of pod default/web-1 to go (The disruption budget web needs 2 healthy pods and has 2 currently)";
    expect(await fixture.record()).toMatchObject({ phase: "draining", message: `${message}; 1 more is held, too; 1 more is ending` });
    expect(api.evictions).toEqual(["default/other"]);
    const firstMinute = asked;
    await clock.advance(MINUTE);
    expect(asked - firstMinute).toBeLessThan(firstMinute);
    expect(asked - firstMinute).toBeGreaterThan(4);
    api.held.clear();
    await clock.advance(20 * SECOND);
    // Which of the two is asked for first is left to chance.
    expect([...api.evictions].sort()).toEqual(["default/other", "default/web-1", "default/web-2"]);
    await settle();
    expect(await fixture.record()).toMatchObject({ phase: "drained" });
  });

  it("that comes to its deadline lets the node go, says why, and when its rollout may try again", async () => {
    const { api } = fixture;
    api.putPod("default/web-1", A_NODE);
    api.held.set("default/web-1", BUDGET);
    await fixture.want("drain");
    await clock.advance(10 * MINUTE);
    expect(fixture.isCordoned()).toBe(false);
    const record = await fixture.record();
    expect(record).toMatchObject({
      phase: "timedOut",
      message: expect.stringMatching(/^not drained within 10m: PodDisruptionBudget default\/web/),
    });
    expect(record!.revisitAtMs! - record!.deadlineAtMs).toBe(7 * MINUTE);
    const evictions = api.evictions.length;
    api.held.clear();
    await clock.advance(10 * MINUTE);
    expect([api.evictions.length, fixture.isCordoned()]).toEqual([evictions, false]);
    // Its owner tries again.
    await fixture.want("drain");
    await settle();
    expect([await fixture.record(), fixture.isCordoned()]).toMatchObject([{ phase: "drained" }, true]);
  });

  it("asks no further pod to go once it is released in the middle", async () => {
    const { api } = fixture;
    for (let pod = 0; pod < 5; pod += 1) api.putPod(`default/web-${pod}`, A_NODE);
    let released: Promise<unknown> = Promise.resolve();
    api.hook = (what, moment) => {
      if (what !== "evict" || moment !== "after" || api.evictions.length !== 2) return;
      released = fixture.release();
    };
    await fixture.want("drain");
    await clock.advance(SECOND);
    await released;
    await clock.advance(5 * SECOND);
    expect(api.evictions.length).toBeLessThanOrEqual(3);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);
  });

  it("keeps the node cordoned while it is wanted, whoever uncordons it by hand", async () => {
    const { api } = fixture;
    await fixture.want("drain");
    await clock.advance(SECOND);
    expect(await fixture.record()).toMatchObject({ phase: "drained" });
    api.putNode(A_NODE, { ...api.stored.get(A_NODE), isUnschedulable: false });
    await clock.advance(31 * SECOND);
    expect(fixture.isCordoned()).toBe(true);
  });

  it("of at most ten nodes of a cluster is seen to at the same moment", async () => {
    const { api } = fixture;
    let atOnce = 0;
    let most = 0;
    const waiting: (() => void)[] = [];
    api.node = async (name) => {
      atOnce += 1;
      most = Math.max(most, atOnce);
      await new Promise<void>((resolve) => waiting.push(resolve));
      atOnce -= 1;
      return api.stored.get(name);
    };
    for (let index = 0; index < 25; index += 1) {
      const nodeId = `node${String(index).padStart(6, "0")}`;
      await fixture.clusters.plan(nodeId, "prod");
      await fixture.label(nodeId, { role: "web" });
      api.putNode(`${nodeId}-host`);
      await fixture.want("cordon", { nodeId });
    }
    for (let round = 0; round < 60; round += 1) {
      for (const go of waiting.splice(0)) go();
      await clock.advance(1);
    }
    expect(most).toBe(10);
    const cordoned = [...api.stored.values()].filter(({ isUnschedulable }) => isUnschedulable);
    expect(cordoned).toHaveLength(25);
  });
});

describe("a cordon of somebody else's", () => {
  it("stays when ours is over", async () => {
    fixture.api.putNode(A_NODE, { ...fixture.api.stored.get(A_NODE), isUnschedulable: true });
    await fixture.want("drain");
    await clock.advance(SECOND);
    expect(await fixture.record()).toMatchObject({ phase: "drained", wasCordoned: true });
    expect(fixture.api.stored.get(A_NODE)?.annotations[CORDON_ANNOTATION]).toBeUndefined();
    await fixture.release();
    await clock.advance(SECOND);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, true]);
  });

  it("is not taken for ours when it comes after a drain that timed out", async () => {
    fixture.api.putPod("default/web-1", A_NODE);
    fixture.api.held.set("default/web-1", BUDGET);
    await fixture.want("drain");
    await clock.advance(11 * MINUTE);
    fixture.api.putNode(A_NODE, { ...fixture.api.stored.get(A_NODE), isUnschedulable: true });
    await fixture.release();
    await clock.advance(MINUTE);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, true]);
  });
});

describe("what we cordoned is uncordoned", () => {
  it("also when somebody took our annotation away", async () => {
    await fixture.want("cordon");
    await clock.advance(SECOND);
    fixture.api.putNode(A_NODE, { ...fixture.api.stored.get(A_NODE), annotations: { "drover.dev/node": A } });
    await fixture.release();
    await clock.advance(SECOND);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);
  });

  it("when its rollout was deleted, its node revoked and deleted, or the node moved to another set", async () => {
    await fixture.want("drain");
    await clock.advance(SECOND);
    await fixture.clusters.commit([{ type: "delete", key: keys.object("Rollout", "web-1") }]);
    await clock.advance(31 * SECOND);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);

    const owner = { kind: "Operator", name: "ann" } as const;
    await fixture.want("drain", { owner });
    await clock.advance(MINUTE);
    expect(fixture.isCordoned()).toBe(true);
    await fixture.clusters.commit([{ type: "delete", key: keys.node(A) }]);
    await clock.advance(31 * SECOND);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);

    await fixture.stop();
    fixture = new MaintenanceFixture(clock);
    await fixture.make();
    await fixture.putSet("db", "db");
    await fixture.want("drain");
    await clock.advance(SECOND);
    expect(fixture.isCordoned()).toBe(true);
    await fixture.label(A, { role: "db" });
    await clock.advance(31 * SECOND);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);
  });

  it("when no set has the node any more, but not before five minutes: its facts may be on their way", async () => {
    await fixture.want("drain");
    await fixture.label(A, { role: "none" });
    await clock.advance(4 * MINUTE);
    expect(fixture.isCordoned()).toBe(true);
    await clock.advance(2 * MINUTE);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);
  });

  it("when the cluster object was deleted, by the kubeconfig that it had", async () => {
    await fixture.want("drain");
    await clock.advance(SECOND);
    await fixture.clusters.commit([
      { type: "delete", key: keys.object("Cluster", "prod") },
      { type: "delete", key: keys.secret("kubeconfig", "prod") },
    ]);
    await clock.advance(SECOND);
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);
  });

  it("or forgotten when nobody can reach a cluster that was given up", async () => {
    await fixture.want("drain");
    await clock.advance(SECOND);
    fixture.api.failure = new ClusterApiError("Unreachable", "no route");
    await fixture.clusters.commit([
      { type: "delete", key: keys.object("Cluster", "prod") },
      { type: "delete", key: keys.secret("kubeconfig", "prod") },
    ]);
    await clock.advance(9 * MINUTE);
    expect(await fixture.record()).toBeDefined();
    await clock.advance(2 * MINUTE);
    expect(await fixture.record()).toBeUndefined();
  });

  it("after the cluster was unreachable for long: the drain times out without it, and the Node is let go when it answers", async () => {
    fixture.api.putPod("default/web-1", A_NODE);
    fixture.api.held.set("default/web-1", BUDGET);
    await fixture.want("drain");
    await clock.advance(SECOND);
    fixture.api.failure = new ClusterApiError("Unreachable", "no route");
    await clock.advance(MINUTE);
    expect(await fixture.record()).toMatchObject({ phase: "draining", message: "Cluster/prod: no route" });
    await clock.advance(30 * MINUTE);
    expect(await fixture.record()).toMatchObject({ phase: "timedOut" });
    expect(fixture.isCordoned()).toBe(true);
    fixture.api.failure = undefined;
    await clock.advance(31 * SECOND);
    expect(fixture.isCordoned()).toBe(false);
  });

  it("by the sweep where no record wants it, but not where the node is not known here, nor on an old backup", async () => {
    const { api } = fixture;
    const lost = { isUnschedulable: true, annotations: { [CORDON_ANNOTATION]: B } };
    api.putNode("foreign", { isUnschedulable: true, annotations: { [CORDON_ANNOTATION]: "somebodyss" } });
    api.putNode("by-hand", { isUnschedulable: true });
    await fixture.clusters.commit([putJson(keys.restored, {})]);
    api.putNode(B_NODE, lost);
    await clock.advance(10 * MINUTE);
    expect(fixture.isCordoned(B_NODE)).toBe(true);
    await fixture.clusters.commit([{ type: "delete", key: keys.restored }]);
    await clock.advance(SECOND);
    expect([fixture.isCordoned(B_NODE), fixture.isCordoned("foreign"), fixture.isCordoned("by-hand")]).toEqual([false, true, true]);
  });
});

describe("a Node that is not there", () => {
  it("has nothing to drain; one that comes back under the name is cordoned until the end", async () => {
    fixture.api.stored.delete(A_NODE);
    await fixture.want("drain");
    await clock.advance(SECOND);
    expect(await fixture.record()).toMatchObject({ phase: "drained", message: expect.stringContaining("no Node") });
    fixture.api.putNode(A_NODE, { annotations: { "drover.dev/node": A } });
    await clock.advance(31 * SECOND);
    expect(fixture.isCordoned()).toBe(true);
    await fixture.release();
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);
  });

  it("but another machine's of its name, is left alone", async () => {
    fixture.api.putNode(A_NODE, { annotations: { "drover.dev/node": B } });
    await fixture.want("drain");
    await clock.advance(MINUTE);
    await fixture.release();
    await clock.advance(SECOND);
    expect([fixture.api.patches.filter(({ isUnschedulable }) => isUnschedulable !== undefined), await fixture.record()]).toEqual([
      [],
      undefined,
    ]);
  });

  it("any more in the middle of its drain ends the drain, and its release", async () => {
    fixture.api.putPod("default/web-1", A_NODE);
    await fixture.want("drain");
    await clock.advance(SECOND);
    fixture.api.stored.delete(A_NODE);
    await clock.advance(3 * SECOND);
    expect(await fixture.record()).toMatchObject({ phase: "drained" });
    await fixture.release();
    expect(await fixture.record()).toBeUndefined();
  });
});

/** Every call to the cluster and every commit of the worker is a place to die before and after. */
describe("a coordinator that is killed anywhere", () => {
  /** What the watch and the sweep ask. */
  const WATCHED = new Set(["nodes", "version", "missingAccess", "bootstrapTokens"]);

  const run = async (killAt: number): Promise<number> => {
    const { api } = fixture;
    api.putPod("default/web-1", A_NODE);
    api.putPod("default/web-2", A_NODE);
    api.held.set("default/web-2", BUDGET);
    let moments = 0;
    let isDead = false;
    let fromTest = false;
    const mayDie = (): void => {
      moments += 1;
      if (moments !== killAt) return;
      isDead = true;
      fixture.kill();
    };
    api.hook = (what) => {
      if (!isDead && !WATCHED.has(what)) mayDie();
      if (isDead) throw new ClusterApiError("Unreachable", "its process is dead");
    };
    const commit = fixture.store.commit.bind(fixture.store);
    fixture.store.commit = async (operations) => {
      if (!operations.every(({ key }) => key.startsWith(keys.maintenances)) || fromTest) return commit(operations);
      if (isDead) return new Promise(() => undefined);
      mayDie();
      if (isDead) return new Promise(() => undefined);
      const committed = await commit(operations);
      mayDie();
      return isDead ? new Promise(() => undefined) : committed;
    };
    const asOwner = async (work: () => Promise<void>): Promise<void> => {
      fromTest = true;
      await work().finally(() => {
        fromTest = false;
      });
    };
    const reborn = async (): Promise<void> => {
      if (!isDead) return;
      isDead = false;
      killAt = -1;
      await fixture.start();
    };
    const live = async (): Promise<void> => {
      for (let round = 0; round < 8; round += 1) {
        await clock.advance(5 * SECOND);
        await reborn();
        fixture.endTerminating();
      }
    };
    // Its owner writes while the worker sleeps: what it writes itself is not where it dies.
    const record = { nodeId: A, cluster: "prod", nodeName: A_NODE, owner: { kind: "Rollout", name: "web-1" }, wanted: "drain" } as const;
    const startedAtMs = clock.now();
    const wanted = { ...record, phase: "waiting", message: "", wasCordoned: false, startedAtMs, deadlineAtMs: startedAtMs + 10 * MINUTE };
    await asOwner(async () => void (await commit([putJson(keys.maintenance(A), wanted)])));
    await live();
    expect(api.evictions.filter((pod) => pod === "default/web-1")).toHaveLength(1);
    expect([await fixture.record(), fixture.isCordoned()]).toMatchObject([{ phase: "draining" }, true]);
    api.held.clear();
    await live();
    expect([await fixture.record(), fixture.isCordoned()]).toMatchObject([{ phase: "drained", wasCordoned: false }, true]);
    const now = await fixture.store.get(keys.maintenance(A));
    const drained = await fixture.record();
    await asOwner(async () => void (await commit([putJson(keys.maintenance(A), { ...drained!, wanted: "release" }, now!.revision)])));
    await live();
    expect([await fixture.record(), fixture.isCordoned()]).toEqual([undefined, false]);
    expect(api.stored.get(A_NODE)?.annotations[CORDON_ANNOTATION]).toBeUndefined();
    return moments;
  };
  it("leaves nothing cordoned, and evicts no pod twice", async () => {
    const places = await run(-1);
    expect(places).toBeGreaterThan(20);
    for (let killAt = 1; killAt <= Math.min(places, 60); killAt += 1) {
      await fixture.stop();
      clock = new VirtualClock();
      fixture = new MaintenanceFixture(clock);
      await fixture.make();
      await run(killAt);
    }
  }, 60_000);
});
