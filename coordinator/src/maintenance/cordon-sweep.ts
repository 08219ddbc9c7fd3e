/** Finds Nodes that carry our cordon while no record wants it, as an old backup of the store leaves them, and lets them go. */
import { type Clock, type Log, sleep } from "@drover/lifecycle";
import { ClusterApiError, CORDON_ANNOTATION, type DrainingApi } from "../cluster/cluster-api.ts";
import type { Clusters } from "../cluster/clusters.ts";
import type { MaintenanceRecord } from "../records.ts";
import type { Catalog } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { readJson } from "../store/values.ts";
import { uncordonPatch } from "./cordon.ts";

export interface CordonSweepParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly clusters: Pick<Clusters, "drainingApiOf">;
  readonly clock: Clock;
  readonly log: Log;
}

export const SWEEP_INTERVAL_MS = 5 * 60_000;
const RETRY_MS = 30_000;

/** Until the signal aborts: now, every five minutes, and when clusters come or a backup was accepted. */
export async function sweepCordons(parts: CordonSweepParts, signal: AbortSignal): Promise<void> {
  const { catalog, clock } = parts;
  let wake = new AbortController();
  const look = (): void => wake.abort();
  const isOfInterest = (key: string): boolean => key.startsWith(keys.objectsOf("Cluster")) || key.startsWith(keys.coordinator);
  const stopListening = catalog.onChange((changes) => {
    if (changes.some(({ key }) => isOfInterest(key))) look();
  });
  signal.addEventListener("abort", look, { once: true });
  const told = new Set<string>();
  try {
    while (!signal.aborted) {
      wake = new AbortController();
      const isDone = await sweepAll(parts, told, signal);
      await sleep(clock, isDone ? SWEEP_INTERVAL_MS : RETRY_MS, wake.signal).catch(() => undefined);
    }
  } finally {
    stopListening();
    signal.removeEventListener("abort", look);
  }
}

/** @returns whether every cluster answered */
async function sweepAll(parts: CordonSweepParts, told: Set<string>, signal: AbortSignal): Promise<boolean> {
  const { catalog, clusters, log } = parts;
  // An old store does not know who was cordoned since.
  if (catalog.restored !== undefined) return true;
  const done = await Promise.all(
    [...catalog.objects("Cluster").keys()].map(async (cluster) => {
      const connection = await clusters.drainingApiOf(cluster);
      if (!connection.ok) return false;
      try {
        await sweepOne(parts, cluster, connection.api, told, signal);
        return true;
      } catch (error) {
        if (!(error instanceof ClusterApiError)) throw error;
        log.debug({ cluster, err: error }, "a cluster could not be looked through for cordons of ours");
        return false;
      }
    }),
  );
  return done.every(Boolean);
}

/** The Nodes first, the records second: a record is there before its cordon, so that nothing that is being cordoned is taken for a leftover. */
async function sweepOne(
  { store, catalog, log }: CordonSweepParts,
  cluster: string,
  api: DrainingApi,
  told: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  const cordoned = (await api.nodes(signal)).filter(({ annotations }) => annotations[CORDON_ANNOTATION] !== undefined);
  if (cordoned.length === 0) return;
  const { entries } = await store.list(keys.maintenances);
  const wanted = new Set(entries.map((entry) => (readJson(entry) as MaintenanceRecord).nodeId));
  for (const node of cordoned) {
    const nodeId = node.annotations[CORDON_ANNOTATION]!;
    if (wanted.has(nodeId)) continue;
    const about = { node: nodeId, cluster, kubernetesNode: node.name };
    if (!catalog.nodeRecords.has(nodeId)) {
      // Another coordinator's, or of one whose store was lost: not ours to judge.
      if (!told.has(node.uid))
        log.warn(about, `a Node is cordoned for a node that is not known here; if nobody else's: kubectl uncordon ${node.name}`);
      told.add(node.uid);
      continue;
    }
    try {
      await api.patchNode(node.name, uncordonPatch(node), signal);
      log.warn(about, "a Node that was cordoned without a record is uncordoned");
    } catch (error) {
      const isOvertaken = error instanceof ClusterApiError && (error.code === "Conflict" || error.code === "NotFound");
      if (!isOvertaken) throw error;
    }
  }
}
