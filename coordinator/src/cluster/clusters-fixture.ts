/** A coordinator's clusters on a store in memory, with nodes whose plans and reports a test writes by hand. */
import { randomBytes } from "node:crypto";
import type { Cluster } from "@drover/api";
import { seededRandom, Secret, silentLog, type Clock } from "@drover/lifecycle";
import { KubeadmSpec, Plan } from "@drover/proto";
import type { FleetView, ObservedNode } from "../fleet/fleet.ts";
import type { BootstrapTokenRecord, DesiredNode, NodeRecord } from "../records.ts";
import { Catalog } from "../resources/catalog.ts";
import { MembershipIndex } from "../resources/membership-index.ts";
import { Resources } from "../resources/resources.ts";
import { View } from "../resources/view.ts";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { createClusters } from "./adopted-clusters.ts";
import type { ConnectCluster } from "./cluster-connections.ts";
import type { Clusters } from "./clusters.ts";
import { SecretBox } from "./secret-box.ts";

export const JOIN_STEP = "kubeadm";

class HandmadeFleet implements FleetView {
  readonly #nodes = new Map<string, ObservedNode>();
  readonly #listeners = new Set<(nodeIds: readonly string[]) => void>();

  node(nodeId: string): ObservedNode | undefined {
    return this.#nodes.get(nodeId);
  }

  nodes(): Iterable<ObservedNode> {
    return this.#nodes.values();
  }

  onChange(listen: (nodeIds: readonly string[]) => void): () => void {
    this.#listeners.add(listen);
    return () => this.#listeners.delete(listen);
  }

  report(nodeId: string, observed: Partial<ObservedNode>): void {
    const none = {
      health: { verdict: "healthy", reason: "" },
      outcome: "accepted",
      planEpoch: 1,
      observedGeneration: 1,
      steps: [],
      conditions: [],
      facts: undefined,
      drift: [],
      images: [],
    };
    this.#nodes.set(nodeId, { ...none, ...this.#nodes.get(nodeId), ...observed, nodeId } as ObservedNode);
    for (const listen of this.#listeners) listen([nodeId]);
  }
}

export class ClustersFixture {
  readonly fleet = new HandmadeFleet();
  readonly store: Store;
  catalog!: Catalog;
  clusters!: Clusters;
  view!: View;
  resources!: Resources;
  #box = new SecretBox(new Secret(randomBytes(32)), "/secrets.key");
  readonly #clock: Clock;
  readonly #connect: ConnectCluster;
  #ended = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(clock: Clock, connect: ConnectCluster, store: Store = memoryStore()) {
    this.#clock = clock;
    this.#connect = connect;
    this.store = store;
  }

  /** Another process with the same key file. */
  adoptKeyOf(other: ClustersFixture): void {
    this.#box = other.#box;
  }

  /** A new process on the same store; running or not. */
  start({ isSwept = true } = {}): void {
    const { store, fleet } = this;
    const [clock, random, log] = [this.#clock, seededRandom(3), silentLog];
    const catalog = new Catalog(store);
    const members = new MembershipIndex(catalog, fleet);
    const sessions = { stepKinds: () => undefined, cloneAlarm: () => undefined };
    this.catalog = catalog;
    this.view = new View({ catalog, fleet, sessions, members, clock, disruptionOf: () => undefined, clusters: () => this.clusters });
    this.resources = new Resources({ store, catalog, view: this.view, members, clock, random, log });
    this.clusters = createClusters({
      store,
      catalog,
      fleet,
      resources: this.resources,
      clock,
      random,
      log,
      box: this.#box,
      connect: this.#connect,
    });
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    const swept = async (): Promise<void> => {
      await catalog.reached(0);
      if (isSwept) await this.clusters.run(signal);
    };
    this.#running = Promise.all([catalog.run(signal), swept()]);
  }

  /** Dies as by kill -9, as far as it can: what is under way comes to nothing. */
  kill(): void {
    this.#ended.abort();
    this.#running.catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#running;
  }

  /** An enrolled node whose decided plan joins the cluster as "<id>-host". */
  async plan(nodeId: string, cluster: string, generation = 1, spec: Partial<KubeadmSpec> = {}): Promise<void> {
    const record: Partial<NodeRecord> = { nodeId, name: `name-${nodeId}` };
    const kubeadm = KubeadmSpec.fromPartial({ cluster, nodeName: `${nodeId}-host`, nodeLabels: { "drover.dev/node-set": "web" }, ...spec });
    const plan = Plan.fromPartial({ nodeId, generation, steps: [{ id: JOIN_STEP, spec: { $case: "kubeadm", value: kubeadm } }] });
    const desired: Partial<DesiredNode> = {
      nodeId,
      planEpoch: 1,
      generation,
      rollout: "",
      plan: Buffer.from(Plan.encode(plan).finish()).toString("base64"),
    };
    const object = { apiVersion: "drover.dev/v1alpha1", kind: "Node", metadata: { name: `name-${nodeId}`, uid: nodeId }, spec: {} };
    await this.commit([
      putJson(keys.node(nodeId), record),
      putJson(keys.desired(nodeId), desired),
      putJson(keys.object("Node", `name-${nodeId}`), object),
    ]);
  }

  async revoke(nodeId: string): Promise<void> {
    await this.commit([putJson(keys.node(nodeId), { nodeId, name: `name-${nodeId}`, revokedAtMs: 1, revokedReason: "" })]);
  }

  /** As adopt() would have, without asking the cluster. */
  async putCluster(name: string, uid: string, kubeconfig: Secret): Promise<void> {
    const spec = { endpoint: "10.0.0.1:6443", caCertHashes: [`sha256:${"a".repeat(64)}`] };
    const object: Cluster = { apiVersion: "drover.dev/v1alpha1", kind: "Cluster", metadata: { name, uid }, spec };
    const key = keys.secret("kubeconfig", name);
    await this.commit([putJson(keys.object("Cluster", name), object), putJson(key, this.#box.seal(key, kubeconfig))]);
  }

  async commit(operations: Parameters<Store["commit"]>[0]): Promise<void> {
    const committed = await this.store.commit(operations);
    if (!committed.ok) throw new Error(`conflict at ${committed.conflict.key}`);
    await this.catalog.reached(committed.revision);
  }

  async records(): Promise<BootstrapTokenRecord[]> {
    return (await this.store.list(keys.bootstrapTokens)).entries.map((entry) => readJson(entry) as BootstrapTokenRecord);
  }

  ask(nodeId: string, cluster: string, generation = 1) {
    return this.clusters.joinCredential({ nodeId, cluster, generation }, new AbortController().signal);
  }
}
