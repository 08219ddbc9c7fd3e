/** A maintenance worker on a cluster in memory, with two nodes in it; processes die and start again on the same store. */
import { randomBytes } from "node:crypto";
import { seededRandom, Secret, silentLog, type VirtualClock } from "@drover/lifecycle";
import { ClustersFixture } from "../cluster/clusters-fixture.ts";
import { FakeClusterApi } from "../cluster/fake-cluster-api.ts";
import { testKubeconfig } from "../cluster/kubeconfig-fixture.ts";
import type { MaintenanceRecord } from "../records.ts";
import { MembershipIndex } from "../resources/membership-index.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { MaintenanceWorker } from "./maintenance-worker.ts";

export const A = "aaaaaaaaaa";
export const B = "bbbbbbbbbb";
export const A_NODE = `${A}-host`;
export const B_NODE = `${B}-host`;
const MINUTE = 60_000;

export class MaintenanceFixture {
  readonly api = new FakeClusterApi();
  readonly clock: VirtualClock;
  readonly clusters: ClustersFixture;
  #ended = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(clock: VirtualClock, store?: Store) {
    this.clock = clock;
    this.clusters = new ClustersFixture(clock, () => Promise.resolve(this.api), store);
  }

  get store(): Store {
    return this.clusters.store;
  }

  /** With both nodes in cluster prod, marked as theirs, and Rollout/web-1 of the set that has them. */
  async make(): Promise<void> {
    await this.start();
    await this.clusters.putCluster("prod", "uid-prod", new Secret(testKubeconfig({})));
    for (const nodeId of [A, B]) {
      await this.clusters.plan(nodeId, "prod");
      await this.label(nodeId, { role: "web" });
      this.api.putNode(`${nodeId}-host`, { annotations: { "drover.dev/node": nodeId }, labels: { "drover.dev/node-set": "web" } });
    }
    await this.putSet("web", "web");
    const strategy = { drain: { from: "restart", deadline: "10m", revisitAfter: "7m" } };
    const rollout = { apiVersion: "drover.dev/v1alpha1", kind: "Rollout", metadata: { name: "web-1" }, spec: { nodeSet: "web", strategy } };
    await this.clusters.commit([putJson(keys.object("Rollout", "web-1"), rollout)]);
    await this.clock.advance(1);
  }

  async putSet(name: string, role: string): Promise<void> {
    const spec = { selector: { matchLabels: { role } }, profile: "web", cluster: "prod", strategy: {} };
    const object = { apiVersion: "drover.dev/v1alpha1", kind: "NodeSet", metadata: { name }, spec };
    await this.clusters.commit([putJson(keys.object("NodeSet", name), object)]);
  }

  async label(nodeId: string, labels: Readonly<Record<string, string>>): Promise<void> {
    const metadata = { name: `name-${nodeId}`, uid: nodeId, labels };
    const object = { apiVersion: "drover.dev/v1alpha1", kind: "Node", metadata, spec: {} };
    await this.clusters.commit([putJson(keys.object("Node", `name-${nodeId}`), object)]);
  }

  /** A process begins. */
  async start(): Promise<void> {
    this.clusters.start();
    const { catalog, clusters } = this.clusters;
    await catalog.reached(0);
    const members = new MembershipIndex(catalog, this.clusters.fleet);
    const { store, clock } = this;
    const random = seededRandom(randomBytes(4).readUInt32BE());
    this.#ended = new AbortController();
    this.#running = new MaintenanceWorker({ store, catalog, members, clusters, clock, random, log: silentLog }).run(this.#ended.signal);
    this.#running.catch(() => undefined);
  }

  /** Dies as by kill -9, as far as it can: what is under way comes to nothing. */
  kill(): void {
    this.#ended.abort();
    this.clusters.kill();
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#running.catch(() => undefined);
    await this.clusters.stop().catch(() => undefined);
  }

  async want(wanted: MaintenanceRecord["wanted"], given: Partial<MaintenanceRecord> = {}): Promise<void> {
    const startedAtMs = this.clock.now();
    const record: MaintenanceRecord = {
      nodeId: A,
      cluster: "prod",
      nodeName: `${given.nodeId ?? A}-host`,
      owner: { kind: "Rollout", name: "web-1" },
      wanted,
      phase: "waiting",
      message: "",
      wasCordoned: false,
      startedAtMs,
      deadlineAtMs: startedAtMs + 10 * MINUTE,
      ...given,
    };
    await this.clusters.commit([putJson(keys.maintenance(record.nodeId), record)]);
    await this.clock.advance(1);
  }

  /** As its owner does when the maintenance is over. */
  async release(nodeId = A): Promise<void> {
    const record = await this.record(nodeId);
    await this.clusters.commit([putJson(keys.maintenance(nodeId), { ...record!, wanted: "release" })]);
    await this.clock.advance(1);
  }

  async record(nodeId = A): Promise<MaintenanceRecord | undefined> {
    const entry = await this.store.get(keys.maintenance(nodeId));
    return entry && (readJson(entry) as MaintenanceRecord);
  }

  isCordoned(node = A_NODE): boolean {
    return this.api.stored.get(node)?.isUnschedulable === true;
  }

  /** As a kubelet ends what terminates. */
  endTerminating(): void {
    for (const [key, pod] of this.api.pods) if (pod.isTerminating) this.api.pods.delete(key);
  }
}
