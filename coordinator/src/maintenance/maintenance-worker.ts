/** Carries all MaintenanceRecords out: visits each when it changes and when it is time, some at once in each cluster; sweeps what has no record. */
import { runGroup, sleep } from "@drover/lifecycle";
import type { CatalogChange } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import { sweepCordons } from "./cordon-sweep.ts";
import { NodeMaintenance, type NodeMaintenanceParts } from "./node-maintenance.ts";

/** Nodes of one cluster that are seen to at the same moment. */
const VISITS_AT_ONCE = 10;
const REST_MS = 60_000;

interface Case {
  readonly maintenance: NodeMaintenance;
  dueMs: number;
  isVisited: boolean;
  /** Something changed while it was visited. */
  isStale: boolean;
}

export class MaintenanceWorker {
  readonly #parts: NodeMaintenanceParts;
  readonly #cases = new Map<string, Case>();
  readonly #visits = new Set<Promise<void>>();
  #wake = new AbortController();
  #failure: { readonly error: unknown } | undefined;

  constructor(parts: NodeMaintenanceParts) {
    this.#parts = parts;
  }

  /** Until the signal aborts. @throws when the store fails */
  run(signal: AbortSignal): Promise<void> {
    return runGroup(
      [
        { name: "visits", run: (ended) => this.#visitAll(ended) },
        { name: "sweep", run: (ended) => sweepCordons(this.#parts, ended) },
      ],
      signal,
    );
  }

  async #visitAll(signal: AbortSignal): Promise<void> {
    const { catalog, clock } = this.#parts;
    const fail = (error: unknown): void => {
      this.#failure ??= { error };
      this.#look();
    };
    const look = (): void => this.#look();
    signal.addEventListener("abort", look, { once: true });
    const stopListening = catalog.onChange((changes) => this.#changed(changes));
    for (const nodeId of catalog.maintenances.keys()) this.#due(nodeId);
    try {
      while (!signal.aborted && this.#failure === undefined) {
        this.#wake = new AbortController();
        const restMs = this.#begin(signal, fail);
        await sleep(clock, restMs, this.#wake.signal).catch(() => undefined);
      }
    } finally {
      stopListening();
      signal.removeEventListener("abort", look);
      await Promise.all(this.#visits);
      this.#cases.clear();
    }
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  #look(): void {
    this.#wake.abort();
  }

  #changed(changes: readonly CatalogChange[]): void {
    for (const { key } of changes) {
      if (key.startsWith(keys.maintenances)) this.#due(key.slice(keys.maintenances.length));
      else if (MATTERS_TO_ALL.some((prefix) => key.startsWith(prefix))) for (const nodeId of this.#cases.keys()) this.#due(nodeId);
    }
  }

  #due(nodeId: string): void {
    const { catalog, clock } = this.#parts;
    const existing = this.#cases.get(nodeId);
    if (existing === undefined && !catalog.maintenances.has(nodeId)) return;
    const found = existing ?? { maintenance: new NodeMaintenance(this.#parts, nodeId), dueMs: 0, isVisited: false, isStale: false };
    // What the visit writes itself it has seen.
    if (found.isVisited) found.isStale ||= !found.maintenance.wrote(catalog.maintenances.get(nodeId)?.revision);
    else found.dueMs = clock.monotonicMs();
    this.#cases.set(nodeId, found);
    this.#look();
  }

  /** @returns how long nothing is due */
  #begin(signal: AbortSignal, fail: (error: unknown) => void): number {
    const { catalog, clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    const busy = new Map<string, number>();
    const clusterOf = (nodeId: string): string => catalog.maintenances.get(nodeId)?.value.cluster ?? "";
    for (const [nodeId, { isVisited }] of this.#cases) if (isVisited) busy.set(clusterOf(nodeId), (busy.get(clusterOf(nodeId)) ?? 0) + 1);
    let nextMs = nowMs + REST_MS;
    // Who has waited longest comes first.
    for (const [nodeId, each] of [...this.#cases].sort(([, a], [, b]) => a.dueMs - b.dueMs)) {
      if (each.isVisited) continue;
      if (!catalog.maintenances.has(nodeId)) {
        this.#cases.delete(nodeId);
        continue;
      }
      const cluster = clusterOf(nodeId);
      if (each.dueMs > nowMs) nextMs = Math.min(nextMs, each.dueMs);
      else if ((busy.get(cluster) ?? 0) < VISITS_AT_ONCE) {
        busy.set(cluster, (busy.get(cluster) ?? 0) + 1);
        this.#visit(each, signal, fail);
      }
    }
    return nextMs - nowMs;
  }

  #visit(each: Case, signal: AbortSignal, fail: (error: unknown) => void): void {
    const { clock } = this.#parts;
    each.isVisited = true;
    each.isStale = false;
    const visit = each.maintenance
      .visit(signal)
      .then((nextMs) => {
        each.dueMs = clock.monotonicMs() + (each.isStale ? 0 : nextMs);
      }, fail)
      .finally(() => {
        each.isVisited = false;
        this.#visits.delete(visit);
        this.#look();
      });
    this.#visits.add(visit);
  }
}

/** Clusters that come and go, a backup that is accepted; what else may matter the next visit sees. */
const MATTERS_TO_ALL = [keys.objectsOf("Cluster"), keys.coordinator];
