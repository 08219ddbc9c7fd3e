/** Rollout and drains together: nodes whose kubelet or containerd restarts one after the other under a workload with a PodDisruptionBudget. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { seededRandom, silentLog } from "@drover/lifecycle";
import { CORDON_ANNOTATION } from "../cluster/cluster-api.ts";
import { FakeClusterApi } from "../cluster/fake-cluster-api.ts";
import { MembershipIndex } from "../resources/membership-index.ts";
import { profileOf, RolloutSite, type Side } from "../rollout/controller-fixture.ts";
import { MaintenanceWorker } from "./maintenance-worker.ts";

const NAMES = ["a", "b", "c"] as const;
const STEP_MS = 500;
const MAX_STEPS = 1_500;
const profile = profileOf({ containerd: { maxConcurrentDownloads: 4 } });
const hostOf = (name: string): string => `${name}-host`;

/** A cluster with a Deployment and its PodDisruptionBudget: what controllers, scheduler and kubelets would do, a step at a time. */
class GuardedCluster extends FakeClusterApi {
  readonly #replicas: number;
  readonly minAvailable: number;
  readonly #ready = new Set<string>();
  #made = 0;
  least = Number.POSITIVE_INFINITY;

  constructor(replicas: number, minAvailable: number) {
    super();
    this.#replicas = replicas;
    this.minAvailable = minAvailable;
    for (const name of NAMES) this.putNode(hostOf(name), { annotations: { "drover.dev/node": name } });
  }

  get healthy(): number {
    return [...this.pods.values()].filter(({ uid, isTerminating }) => this.#ready.has(uid) && !isTerminating).length;
  }

  podsOn(node: string): number {
    return [...this.pods.values()].filter(({ nodeName }) => nodeName === node).length;
  }

  step(): void {
    for (const [key, { isTerminating }] of this.pods) if (isTerminating) this.pods.delete(key);
    for (const { uid } of this.pods.values()) this.#ready.add(uid);
    const open = [...this.stored.values()].filter(({ isUnschedulable }) => !isUnschedulable).map(({ name }) => name);
    while (this.pods.size < this.#replicas && open.length > 0) {
      const [emptiest] = open.toSorted((one, other) => this.podsOn(one) - this.podsOn(other));
      this.#made += 1;
      this.putPod(`default/web-${this.#made}`, emptiest!, { phase: "Running" });
    }
  }

  override evict(pod: Parameters<FakeClusterApi["evict"]>[0]): ReturnType<FakeClusterApi["evict"]> {
    const isHeld = this.healthy <= this.minAvailable && this.#ready.has(pod.uid);
    if (isHeld) return Promise.resolve({ outcome: "held", budget: "web", message: `needs ${this.minAvailable}` });
    return super.evict(pod).then((eviction) => {
      this.least = Math.min(this.least, this.healthy);
      return eviction;
    });
  }
}

describe("I3: a rollout that drains", () => {
  let site: RolloutSite;
  let workers: { readonly stop: AbortController; readonly ended: Promise<unknown> }[];
  beforeEach(async () => {
    site = await RolloutSite.make();
    workers = [];
  });
  afterEach(async () => {
    for (const { stop } of workers) stop.abort();
    await site.remove();
    await Promise.all(workers.map(({ ended }) => ended));
  });

  async function start(api: GuardedCluster): Promise<Side> {
    const node = { ready: "True" as const, reason: "", message: "", kubeletVersion: "v1" };
    const kubernetesNodeOf = (nodeId: string) => ({ cluster: "lab", nodeName: hostOf(nodeId), ...node });
    const side = await site.start({ clusters: { kubernetesNodeOf, readySinceMs: () => 0, readAtMs: () => site.clock.now() } });
    const stop = new AbortController();
    const { store, catalog, fleet } = side;
    const clusters = { drainingApiOf: () => Promise.resolve({ ok: true, api } as const) };
    const members = new MembershipIndex(catalog, fleet);
    const parts = { store, catalog, members, clusters, clock: site.clock, random: seededRandom(7), log: silentLog };
    workers.push({ stop, ended: new MaintenanceWorker(parts).run(stop.signal).catch(() => undefined) });
    return side;
  }

  async function restart(api: GuardedCluster): Promise<void> {
    workers.at(-1)!.stop.abort();
    await site.sides[0]!.stop();
    await start(api);
  }

  async function begin(api: GuardedCluster, drain: { readonly deadline: string; readonly revisitAfter: string }): Promise<void> {
    for (let count = 0; count < 3; count += 1) api.step();
    await start(api);
    await site.enrol(Object.fromEntries(NAMES.map((name) => [name, {}])));
    const spec = { endpoint: "lab.example:6443", caCertHashes: [`sha256:${"a".repeat(64)}`] };
    await site.put({ apiVersion: "drover.dev/v1alpha1", kind: "Cluster", metadata: { name: "lab", uid: "lab" }, spec });
    await site.rollOut(profile, { maxUnavailable: 1, drain: { from: "restart", ...drain } });
  }

  const cordoned = (api: GuardedCluster): string[] =>
    [...api.stored.values()].filter(({ isUnschedulable }) => isUnschedulable).map(({ name }) => name);

  /** @param killAt steps before which the coordinator dies. @returns how many steps it took */
  async function play(api: GuardedCluster, killAt: ReadonlySet<number>, isOver: () => boolean): Promise<number> {
    const moved = new Set<string>();
    for (let step = 1; step <= MAX_STEPS; step += 1) {
      if (killAt.has(step)) await restart(api);
      await site.clock.advance(STEP_MS);
      expect(cordoned(api).length).toBeLessThanOrEqual(1);
      for (const name of NAMES.filter((each) => site.desired(each) !== undefined && !moved.has(each))) {
        // At the moment that its services may restart, nothing runs there and nothing comes.
        expect([api.podsOn(hostOf(name)), cordoned(api)]).toEqual([0, [hostOf(name)]]);
        moved.add(name);
        site.ends(name, "enforced");
      }
      api.step();
      if (isOver()) return step;
    }
    throw new Error(`not over after ${MAX_STEPS} steps: ${JSON.stringify(site.rollout())}`);
  }

  const isDone = (api: GuardedCluster) => (): boolean =>
    site.rollout().phase === "Complete" && site.sides[0]!.catalog.maintenances.size === 0 && cordoned(api).length === 0;

  it("never goes below the PodDisruptionBudget, changes only empty nodes, one at a time, and leaves none cordoned", async () => {
    const api = new GuardedCluster(4, 3);
    await begin(api, { deadline: "10m", revisitAfter: "5m" });
    await play(api, new Set(), isDone(api));
    expect([api.least, site.rollout().updated]).toEqual([3, 3]);
    for (const node of api.stored.values()) expect(node.annotations[CORDON_ANNOTATION]).toBeUndefined();
  });

  it.each([1, 2, 3, 5, 7])("nor when the coordinator dies again and again, each %i steps", async (every) => {
    const api = new GuardedCluster(4, 3);
    await begin(api, { deadline: "10m", revisitAfter: "5m" });
    const killAt = new Set(Array.from({ length: 30 }, (_, index) => (index + 1) * every));
    await play(api, killAt, isDone(api));
    expect([api.least, site.rollout().updated]).toEqual([3, 3]);
  });

  it("that a PodDisruptionBudget never lets go on leaves all nodes as they were, uncordoned, and tells why", async () => {
    const api = new GuardedCluster(4, 4);
    await begin(api, { deadline: "1m", revisitAfter: "2m" });
    const triedAll = (): boolean => site.clock.monotonicMs() > 10 * 60_000 && cordoned(api).length === 0;
    await play(api, new Set([50, 51, 200]), triedAll);
    expect(NAMES.filter((name) => site.desired(name) !== undefined)).toEqual([]);
    const told = [...site.sides[0]!.catalog.maintenances.values()].map(({ value }) => value.message);
    expect(told).toContainEqual(
      expect.stringContaining("not drained within 1m: PodDisruptionBudget default/web allows none of pod default/web-"),
    );
    expect(site.rollout().waitingCounts?.["DrainTimedOut"]).toBeGreaterThan(0);
  });
});
