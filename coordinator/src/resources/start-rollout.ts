/**
 * The operations that start a rollout of a set: the Rollout, the record of what its revision was made from, the superseding of the one before, and the
 * forgetting of what nobody can go back to any more. Pure.
 */
import { API_VERSION, type NodeSet, type Rollout } from "@drover/api";
import type { RevisionRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import type { StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import type { Stored } from "./catalog.ts";
import { timestamp } from "./node-status.ts";
import { hasCompleted, newestFirst, type Resolution } from "./revisions.ts";

const KEPT_SUPERSEDED = 10;
/** Of a set, besides those that are in use. */
const KEPT_REVISIONS = 20;

export interface StartingRollout {
  readonly name: string;
  readonly uid: string;
  readonly set: NodeSet;
  readonly target: Extract<Resolution, { readonly ok: true }>;
  /** As in the audit log. */
  readonly startedBy: string;
  /** The rollout that this one takes back. */
  readonly undoOf?: string;
  readonly nowMs: number;
}

export interface StoredRollouts {
  readonly rollouts: ReadonlyMap<string, Stored<Rollout>>;
  readonly revisions: ReadonlyMap<string, Stored<RevisionRecord>>;
}

/** At most four operations; what there is to forget besides is told by surplusRevisions. */
export function startRollout(
  { rollouts, revisions }: StoredRollouts,
  starting: StartingRollout,
  running: Rollout | undefined,
): { readonly rollout: Rollout; readonly operations: readonly StoreOperation[] } {
  const { name, set, target, nowMs } = starting;
  const rollout = newRollout(starting);
  const setName = set.metadata.name;
  const record: RevisionRecord = {
    revision: target.revision,
    nodeSet: setName,
    profile: target.profile,
    locks: target.locks,
    storedAtMs: nowMs,
  };
  const operations: StoreOperation[] = [putJson(keys.object("Rollout", name), rollout, 0)];
  // Of the same digest is the same content: sets that share a profile may write it at once.
  if (!revisions.has(target.revision)) operations.push(putJson(keys.revision(target.revision), record));
  const before = running && rollouts.get(running.metadata.name);
  if (before !== undefined) operations.push(supersede(before, name, nowMs));
  operations.push(...forgetOldest(setName, rollouts));
  return { rollout, operations };
}

function newRollout({ name, uid, set, target, startedBy, undoOf, nowMs }: StartingRollout): Rollout {
  const now = timestamp(nowMs);
  const { profile, strategy } = set.spec;
  return {
    apiVersion: API_VERSION,
    kind: "Rollout",
    metadata: { name, uid, generation: 1, creationTimestamp: now },
    spec: {
      nodeSet: set.metadata.name,
      profile,
      revision: target.revision,
      strategy,
      startedBy,
      ...(undoOf === undefined ? {} : { undoOf }),
    },
    status: {
      phase: "Pending",
      reason: "Starting",
      message: "",
      total: 0,
      updated: 0,
      inChange: 0,
      failed: 0,
      waiting: [],
      startedAt: now,
      observedGeneration: 1,
    },
  };
}

/** What it came to is kept: a set goes back to what completed only. */
function supersede({ value: running, revision }: Stored<Rollout>, by: string, nowMs: number): StoreOperation {
  const isCompleted = hasCompleted(running);
  const { name } = running.metadata;
  const status = {
    ...running.status!,
    phase: "Superseded" as const,
    reason: isCompleted ? "Completed" : "Superseded",
    message: isCompleted ? `had completed; superseded by ${by}` : `by ${by}`,
    waiting: [],
    finishedAt: (isCompleted ? running.status?.finishedAt : undefined) ?? timestamp(nowMs),
  };
  return putJson(keys.object("Rollout", name), { ...running, status }, revision);
}

/** Never the two newest that completed at different revisions: undo must find one that is not where the set stands. */
function forgetOldest(setName: string, stored: StoredRollouts["rollouts"]): StoreOperation[] {
  const rollouts = newestFirst(
    setName,
    [...stored.values()].map(({ value }) => value),
  );
  const superseded = rollouts.filter(({ status }) => status?.phase === "Superseded");
  if (superseded.length < KEPT_SUPERSEDED) return [];
  const good = new Map<string, string>();
  for (const rollout of rollouts) {
    if (hasCompleted(rollout) && good.size < 2 && !good.has(rollout.spec.revision)) good.set(rollout.spec.revision, rollout.metadata.name);
  }
  const kept = new Set(good.values());
  const oldest = superseded.findLast(({ metadata }) => !kept.has(metadata.name));
  return oldest === undefined ? [] : [{ type: "delete", key: keys.object("Rollout", oldest.metadata.name) }];
}

/** Records beyond the newest of each set that no rollout and no set names. @param extra digests that are about to be named */
export function surplusRevisions(
  { rollouts, revisions }: StoredRollouts,
  sets: Iterable<NodeSet>,
  extra: readonly string[],
): readonly StoreOperation[] {
  const used = new Set(extra);
  for (const { value } of rollouts.values()) used.add(value.spec.revision);
  for (const { spec } of sets) if (spec.revision !== undefined) used.add(spec.revision);
  const bySet = new Map<string, Stored<RevisionRecord>[]>();
  for (const stored of revisions.values()) {
    const { nodeSet } = stored.value;
    bySet.set(nodeSet, [...(bySet.get(nodeSet) ?? []), stored]);
  }
  return [...bySet.values()].flatMap((records) =>
    records
      .sort((a, b) => b.value.storedAtMs - a.value.storedAtMs)
      .slice(KEPT_REVISIONS)
      .filter(({ value }) => !used.has(value.revision))
      .map(({ value, revision }): StoreOperation => ({ type: "delete", key: keys.revision(value.revision), expectedRevision: revision })),
  );
}
