/** The adopted clusters of a coordinator: puts tokens, watches and adoption together and keeps them running. */
import { type Clock, type Log, type Random, runGroup } from "@drover/lifecycle";
import type { FleetView } from "../fleet/fleet.ts";
import type { Catalog, CatalogChange } from "../resources/catalog.ts";
import type { Resources } from "../resources/resources.ts";
import type { Refusal } from "../refusal.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { adoptCluster } from "./adopt.ts";
import type { ClusterApi, DrainingApi } from "./cluster-api.ts";
import { BootstrapTokens } from "./bootstrap-tokens.ts";
import { ClusterConnections, type ConnectCluster } from "./cluster-connections.ts";
import { type ClusterStatus, ClusterWatch } from "./cluster-watch.ts";
import type { AdoptAnswer, AdoptRequest, Clusters, JoinCredentialAnswer, JoinCredentialWanted } from "./clusters.ts";
import { plannedJoin } from "./planned-join.ts";
import type { SecretBox } from "./secret-box.ts";
import { keepTokensShort } from "./token-sweep.ts";

export interface ClustersParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly resources: Pick<Resources, "apply">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly box: SecretBox;
  readonly connect: ConnectCluster;
}

export function createClusters(parts: ClustersParts): Clusters {
  return new AdoptedClusters(parts);
}

interface Watching {
  readonly watch: ClusterWatch;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

const PENDING: ClusterStatus = {
  phase: "Pending",
  reason: "NotAskedYet",
  message: "",
  kubernetesVersion: "",
  nodes: 0,
  readyNodes: 0,
  conditions: [],
};

class AdoptedClusters implements Clusters {
  readonly #parts: ClustersParts;
  readonly #connections: ClusterConnections;
  readonly #tokens: BootstrapTokens;
  readonly #watching = new Map<string, Watching>();
  readonly #listeners = new Set<(nodeId: string) => void>();

  constructor(parts: ClustersParts) {
    this.#parts = parts;
    this.#connections = new ClusterConnections(parts);
    this.#tokens = new BootstrapTokens({ ...parts, connections: this.#connections });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { store, catalog, fleet, clock, log } = this.#parts;
    const tokens = this.#tokens;
    const connections = this.#connections;
    try {
      await runGroup(
        [
          { name: "watches", run: (ended) => this.#watchAll(ended) },
          { name: "tokens", run: (ended) => keepTokensShort({ store, catalog, fleet, connections, tokens, clock, log }, ended) },
        ],
        signal,
      );
    } finally {
      await connections.closeAll();
    }
  }

  joinCredential(wanted: JoinCredentialWanted, signal: AbortSignal): Promise<JoinCredentialAnswer> {
    return this.#tokens.mint(wanted, signal);
  }

  async adopt(request: AdoptRequest, signal: AbortSignal): Promise<AdoptAnswer> {
    const answer = await adoptCluster(this.#parts, request, signal);
    if (answer.ok) this.#watching.get(request.name)?.watch.look(true);
    return answer;
  }

  statusOf(clusterName: string): ClusterStatus {
    return this.#watching.get(clusterName)?.watch.status() ?? PENDING;
  }

  kubernetesNodeOf(nodeId: string): ReturnType<ClusterWatch["nodeOf"]> {
    return this.#watchOf(nodeId)?.nodeOf(nodeId);
  }

  async readingApiOf(clusterName: string): Promise<Pick<ClusterApi, "node" | "lease"> | undefined> {
    const connection = await this.#connections.to(clusterName);
    return connection.ok ? connection.api : undefined;
  }

  async drainingApiOf(clusterName: string): Promise<{ readonly ok: true; readonly api: DrainingApi } | Refusal> {
    const connection = await this.#connections.to(clusterName);
    if (connection.ok || this.#parts.catalog.objects("Cluster").has(clusterName)) return connection;
    const api = await this.#connections.last(clusterName);
    return api === undefined ? connection : { ok: true, api };
  }

  readSoon(clusterName: string): void {
    this.#watching.get(clusterName)?.watch.readSoon();
  }

  readySinceMs(nodeId: string): number | undefined {
    return this.#watchOf(nodeId)?.readySinceMs(nodeId);
  }

  readAtMs(nodeId: string): number | undefined {
    return this.#watchOf(nodeId)?.readAtMs;
  }

  controlPlanesOf(clusterName: string): ReturnType<ClusterWatch["controlPlanes"]> {
    return this.#watching.get(clusterName)?.watch.controlPlanes();
  }

  #watchOf(nodeId: string): ClusterWatch | undefined {
    const desired = this.#parts.catalog.desired.get(nodeId)?.value;
    const cluster = desired === undefined ? undefined : plannedJoin(desired)?.spec.cluster;
    return cluster === undefined ? undefined : this.#watching.get(cluster)?.watch;
  }

  onChange(listen: (nodeId: string) => void): () => void {
    this.#listeners.add(listen);
    return () => this.#listeners.delete(listen);
  }

  /** One watch for each Cluster object, as they come and go. @throws when one of them fails */
  async #watchAll(signal: AbortSignal): Promise<void> {
    const { catalog } = this.#parts;
    let fail: (error: unknown) => void = () => undefined;
    const failed = new Promise<never>((_resolve, reject) => {
      fail = reject;
    });
    const follow = (): void => this.#follow(signal, fail);
    const stopListening = catalog.onChange((changes) => {
      if (changes.some(({ key }) => key.startsWith(keys.objectsOf("Cluster")))) follow();
      this.#wakeWatches(changes);
    });
    follow();
    try {
      await Promise.race([failed, new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }))]);
    } finally {
      stopListening();
      const watching = [...this.#watching.values()];
      for (const { stop } of watching) stop.abort();
      await Promise.all(watching.map(({ ended }) => ended));
      this.#watching.clear();
    }
  }

  #follow(signal: AbortSignal, failed: (error: unknown) => void): void {
    const { catalog, fleet, clock, random, log } = this.#parts;
    const objects = catalog.objects("Cluster");
    for (const [name, { stop }] of this.#watching) {
      if (objects.has(name)) continue;
      stop.abort();
      this.#watching.delete(name);
      if (!isLeftIn(name, catalog)) this.#connections.drop(name);
    }
    for (const cluster of objects.keys()) {
      if (this.#watching.has(cluster) || signal.aborted) continue;
      const changed = (nodeId: string): void => {
        for (const listen of this.#listeners) listen(nodeId);
      };
      const watch = new ClusterWatch({ cluster, catalog, fleet, connections: this.#connections, clock, random, log, changed });
      const stop = new AbortController();
      this.#watching.set(cluster, { watch, stop, ended: watch.run(stop.signal).catch(failed) });
    }
  }

  #wakeWatches(changes: readonly CatalogChange[]): void {
    const { catalog } = this.#parts;
    const isToken = changes.some(({ key }) => key.startsWith(keys.bootstrapTokens));
    if (changes.some(({ key, isDeleted }) => isDeleted && key.startsWith(keys.maintenances)))
      this.#connections.dropUnneeded((name) => catalog.objects("Cluster").has(name) || isLeftIn(name, catalog));
    for (const { key } of this.#watching.size === 0 ? [] : changes) {
      const desired = key.startsWith(keys.allDesired) ? catalog.desired.get(key.slice(keys.allDesired.length))?.value : undefined;
      const watch = desired === undefined ? undefined : this.#watching.get(plannedJoin(desired)?.spec.cluster ?? "")?.watch;
      // The first member of a cluster is not waited for long.
      if (watch?.hasMembers === false) watch.look(true);
    }
    if (isToken) for (const { watch } of this.#watching.values()) watch.look();
  }
}

/** Whether something of ours is in a cluster that goes by the connection that it had: tokens, cordoned nodes. */
function isLeftIn(cluster: string, { bootstrapTokens, maintenances }: Catalog): boolean {
  return [...bootstrapTokens.values(), ...maintenances.values()].some(({ value }) => value.cluster === cluster);
}
