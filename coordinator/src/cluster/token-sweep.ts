/** Sees to it that no bootstrap token outlives its join: looks at each report and each change, and once a minute at what lies in the clusters. */
import { type Clock, type Log, sleep } from "@drover/lifecycle";
import type { FleetView } from "../fleet/fleet.ts";
import type { BootstrapTokenRecord } from "../records.ts";
import type { Catalog } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { readJson } from "../store/values.ts";
import type { BootstrapTokens } from "./bootstrap-tokens.ts";
import { type ClusterApi, ClusterApiError } from "./cluster-api.ts";
import type { ClusterConnections } from "./cluster-connections.ts";
import { isReported, plannedJoin } from "./planned-join.ts";

const SWEEP_INTERVAL_MS = 60_000;
const RETRY_MS = 5_000;
/** A token that long past its end is worth no more trying: no API server takes it, and Kubernetes itself deletes it. */
const GIVE_UP_MS = 24 * 3_600_000;

export interface TokenSweepParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly connections: ClusterConnections;
  readonly tokens: BootstrapTokens;
  readonly clock: Clock;
  readonly log: Log;
}

/** Until the signal aborts. */
export async function keepTokensShort(parts: TokenSweepParts, signal: AbortSignal): Promise<void> {
  const { catalog, fleet, clock } = parts;
  let wake = new AbortController();
  const look = (): void => wake.abort();
  const stops = [
    fleet.onChange((nodeIds) => {
      if (catalog.bootstrapTokens.size > 0 && holdersAmong(catalog, nodeIds)) look();
    }),
    catalog.onChange((changes) => {
      if (changes.some(({ key }) => MATTERS.some((prefix) => key.startsWith(prefix)))) look();
    }),
  ];
  signal.addEventListener("abort", look, { once: true });
  let nextSweepMs = clock.monotonicMs();
  try {
    while (!signal.aborted) {
      wake = new AbortController();
      const isSweep = clock.monotonicMs() >= nextSweepMs;
      if (isSweep) nextSweepMs = clock.monotonicMs() + SWEEP_INTERVAL_MS;
      const isDone = await pass(parts, isSweep, signal);
      const restMs = isDone ? nextSweepMs - clock.monotonicMs() : RETRY_MS;
      await sleep(clock, Math.max(0, Math.min(restMs, nextSweepMs - clock.monotonicMs())), wake.signal).catch(() => undefined);
    }
  } finally {
    for (const stop of stops) stop();
    signal.removeEventListener("abort", look);
  }
}

const MATTERS = [keys.nodes, keys.objectsOf("Cluster"), keys.bootstrapTokens];

function holdersAmong(catalog: Catalog, nodeIds: readonly string[]): boolean {
  const changed = new Set(nodeIds);
  for (const { value } of catalog.bootstrapTokens.values()) if (changed.has(value.nodeId)) return true;
  return false;
}

/** @returns whether all that is due has gone */
async function pass(parts: TokenSweepParts, isSweep: boolean, signal: AbortSignal): Promise<boolean> {
  const { catalog } = parts;
  const records = [...catalog.bootstrapTokens.values()].map(({ value }) => value);
  const clusters = new Set(records.map(({ cluster }) => cluster));
  if (isSweep) for (const name of catalog.objects("Cluster").keys()) clusters.add(name);
  const done = await Promise.all(
    [...clusters].map((cluster) =>
      cleanCluster(
        parts,
        cluster,
        records.filter((record) => record.cluster === cluster),
        isSweep,
        signal,
      ),
    ),
  );
  return done.every(Boolean);
}

async function cleanCluster(
  parts: TokenSweepParts,
  cluster: string,
  records: readonly BootstrapTokenRecord[],
  isSweep: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  const { catalog, connections, tokens, clock, log } = parts;
  const due = records.flatMap((record) => {
    const why = dueWhy(parts, record);
    return why === undefined ? [] : [{ record, why }];
  });
  const adoption = catalog.objects("Cluster").get(cluster)?.value.metadata.uid;
  if (due.length === 0 && (!isSweep || adoption === undefined)) return true;
  const api = await apiOf(parts, cluster, adoption !== undefined);
  if (api === undefined) {
    // Without its kubeconfig nothing can be done in it any more: Kubernetes deletes what has expired.
    const forgettable = due.filter(({ record }) => adoption === undefined || record.expiresAtMs + GIVE_UP_MS < clock.now());
    for (const { record } of forgettable) await tokens.forget(record);
    return forgettable.length === due.length;
  }
  try {
    for (const { record, why } of due) {
      await tokens.remove(record, api, signal);
      log.info({ node: record.nodeId, cluster, token: record.tokenId, why }, "bootstrap token deleted");
    }
    if (isSweep && adoption !== undefined) await removeUnrecorded(parts, cluster, adoption, api, signal);
    if (adoption === undefined && ![...catalog.maintenances.values()].some(({ value }) => value.cluster === cluster))
      connections.drop(cluster);
    return true;
  } catch (error) {
    if (signal.aborted) return true;
    if (!(error instanceof ClusterApiError)) throw error;
    for (const { record } of due) if (record.expiresAtMs + GIVE_UP_MS < clock.now()) await tokens.forget(record);
    log.warn({ cluster, due: due.length, err: error }, "bootstrap tokens of a cluster could not be looked after, trying again");
    return due.length === 0;
  }
}

async function apiOf({ connections, log }: TokenSweepParts, cluster: string, isKnown: boolean): Promise<ClusterApi | undefined> {
  const connection = isKnown ? await connections.to(cluster) : undefined;
  if (connection?.ok === true) return connection.api;
  if (connection !== undefined && connection.reason !== "NoKubeconfig")
    log.error({ cluster, reason: connection.reason }, connection.message);
  return connections.last(cluster);
}

/** The list first, the records second: a record is there before its token, so that nothing that is being minted is taken for a leftover. */
async function removeUnrecorded(
  { store, log }: TokenSweepParts,
  cluster: string,
  adoption: string,
  api: ClusterApi,
  signal: AbortSignal,
): Promise<void> {
  const found = await api.bootstrapTokens(adoption, signal);
  if (found.length === 0) return;
  const { entries } = await store.list(keys.bootstrapTokens);
  const known = new Set(entries.map((entry) => (readJson(entry) as BootstrapTokenRecord).tokenId));
  for (const tokenId of found.filter((id) => !known.has(id))) {
    await api.deleteBootstrapToken(tokenId, signal);
    log.warn({ cluster, token: tokenId }, "bootstrap token without a record deleted");
  }
}

/** undefined: it may still be needed. */
function dueWhy({ catalog, fleet, clock }: TokenSweepParts, record: BootstrapTokenRecord): string | undefined {
  const node = catalog.nodeRecords.get(record.nodeId)?.value;
  if (record.expiresAtMs <= clock.now()) return "Expired";
  if (!catalog.objects("Cluster").has(record.cluster)) return "ClusterDeleted";
  if (node === undefined) return "NodeGone";
  if (node.revokedAtMs !== undefined) return "NodeRevoked";
  const desired = catalog.desired.get(record.nodeId)?.value;
  const isItsPlan = desired?.planEpoch === record.planEpoch && desired.generation === record.generation;
  const stepId = desired !== undefined && isItsPlan ? plannedJoin(desired)?.stepId : undefined;
  return isReported(record, fleet.node(record.nodeId), stepId) ? "Reported" : undefined;
}
