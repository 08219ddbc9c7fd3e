/** Which revision a NodeSet is to have, and which Rollout is moving it there. Pure reading of the catalog. */
import {
  type Cluster,
  compile,
  formatProblem,
  type ImageLock,
  type Membership,
  type NodeProfile,
  type NodeSet,
  type Rollout,
} from "@drover/api";
import type { RevisionRecord } from "../records.ts";
import type { Catalog } from "./catalog.ts";

/** What sets name. */
export interface Content {
  readonly profiles: ReadonlyMap<string, NodeProfile>;
  readonly locks: ReadonlyMap<string, ImageLock>;
  readonly clusters: ReadonlyMap<string, Cluster>;
  /** What sets can be held at, by digest. */
  readonly revisions: ReadonlyMap<string, RevisionRecord>;
}

export type Resolution =
  | {
      readonly ok: true;
      readonly profile: NodeProfile;
      readonly locks: readonly ImageLock[];
      /** Of the set in its cluster; undefined: it names none. Of no one node: rejoin is 0. */
      readonly membership: Membership | undefined;
      readonly revision: string;
    }
  | { readonly ok: false; readonly message: string };

export function contentIn(catalog: Catalog): Content {
  return {
    profiles: valuesOf(catalog.objects("NodeProfile")),
    locks: valuesOf(catalog.objects("ImageLock")),
    clusters: valuesOf(catalog.objects("Cluster")),
    revisions: valuesOf(catalog.revisions),
  };
}

/**
 * The profile of a set with its locks and cluster, and the revision they make; without facts, so what only some nodes cannot do shows at those nodes. A
 * set that is held has profile and locks as they were then, and the cluster as it is today.
 */
export function resolveSet({ metadata, spec }: NodeSet, content: Content): Resolution {
  const cluster = spec.cluster === undefined ? undefined : content.clusters.get(spec.cluster);
  if (spec.cluster !== undefined && cluster === undefined) {
    return {
      ok: false,
      message: `Cluster ${spec.cluster} does not exist; adopt it: drover cluster adopt ${spec.cluster} --kubeconfig FILE`,
    };
  }
  const membership = cluster && { cluster, nodeSet: metadata.name, rejoin: 0 };
  if (spec.revision === undefined) return resolveProfile(spec.profile, content, membership);
  const held = content.revisions.get(spec.revision);
  if (held !== undefined) return resolved(held.profile, held.locks, membership);
  return { ok: false, message: notOnRecord(metadata.name, spec) };
}

export function notOnRecord(setName: string, { revision, profile }: NodeSet["spec"]): string {
  return (
    `spec.revision ${revision} is not on record: only what was rolled out before is, and not for ever; ` +
    `see: drover rollout history ${setName}, or apply the set without spec.revision to have what NodeProfile/${profile} says now`
  );
}

/** A profile on its own, of a set without a cluster. */
export function resolveProfile(profileName: string, content: Content, membership?: Membership): Resolution {
  const profile = content.profiles.get(profileName);
  if (profile === undefined) return { ok: false, message: `NodeProfile ${profileName} does not exist; apply it: drover apply -f` };
  const locks = [...content.locks.values()].filter(({ metadata }) => metadata.name === profile.spec.images?.lock);
  return resolved(profile, locks, membership);
}

interface Resolved {
  readonly locks: readonly ImageLock[];
  readonly membership: Membership | undefined;
  readonly resolution: Resolution;
}

/** Every look at a set asks for the same; what is in the catalog is never changed, but replaced. The oldest goes first. */
const lately = new WeakMap<NodeProfile, Resolved[]>();
const KEPT_FOR_A_PROFILE = 16;

function resolved(profile: NodeProfile, locks: readonly ImageLock[], membership: Membership | undefined): Resolution {
  const kept = lately.get(profile) ?? [];
  lately.set(profile, kept);
  const known = kept.find((one) => isSameMembership(one.membership, membership) && isSame(one.locks, locks));
  if (known !== undefined) return known.resolution;
  const resolution = resolvedAnew(profile, locks, membership);
  if (kept.push({ locks, membership, resolution }) > KEPT_FOR_A_PROFILE) kept.shift();
  return resolution;
}

function isSameMembership(one: Membership | undefined, other: Membership | undefined): boolean {
  return one?.cluster === other?.cluster && one?.nodeSet === other?.nodeSet;
}

function isSame(one: readonly ImageLock[], other: readonly ImageLock[]): boolean {
  return one.length === other.length && one.every((lock, index) => lock === other[index]);
}

function resolvedAnew(profile: NodeProfile, locks: readonly ImageLock[], membership: Membership | undefined): Resolution {
  const compiled = compile(profile, locks, undefined, membership);
  if (!compiled.ok) return { ok: false, message: compiled.problems.map(formatProblem).join("; ") };
  return { ok: true, profile, locks, membership, revision: compiled.revision };
}

function valuesOf<T>(stored: ReadonlyMap<string, { readonly value: T }>): Map<string, T> {
  return new Map([...stored].map(([name, { value }]) => [name, value]));
}

/** The rollout that moves the set: the one that nothing has superseded. */
export function currentRollout(setName: string, rollouts: Iterable<Rollout>): Rollout | undefined {
  let found: Rollout | undefined;
  for (const rollout of rollouts) {
    if (rollout.spec.nodeSet !== setName || rollout.status?.phase === "Superseded") continue;
    if (found === undefined || numberOf(rollout.metadata.name) > numberOf(found.metadata.name)) found = rollout;
  }
  return found;
}

/** Of one set. */
export function newestFirst(setName: string, rollouts: Iterable<Rollout>): Rollout[] {
  return [...rollouts].filter(({ spec }) => spec.nodeSet === setName).sort((a, b) => numberOf(b.metadata.name) - numberOf(a.metadata.name));
}

/** Whether it is, or was when it was superseded, complete. */
export function hasCompleted({ status }: Rollout): boolean {
  return status?.phase === "Complete" || (status?.phase === "Superseded" && status.reason === "Completed");
}

/** The newest earlier rollout of the set that completed at another revision: where undo goes. */
export function lastGood(running: Rollout, rollouts: Iterable<Rollout>): Rollout | undefined {
  return newestFirst(running.spec.nodeSet, rollouts).find(
    (rollout) =>
      hasCompleted(rollout) &&
      rollout.spec.revision !== running.spec.revision &&
      numberOf(rollout.metadata.name) < numberOf(running.metadata.name),
  );
}

const ROLLOUT_NAME = /-(\d+)$/;
const MAX_NAME = 63;

/** The next free "<set>-<number>". */
export function nextRolloutName(setName: string, taken: ReadonlySet<string>): string {
  const stem = setName.slice(0, MAX_NAME - 9);
  let highest = 0;
  for (const name of taken) if (name.startsWith(`${stem}-`)) highest = Math.max(highest, numberOf(name));
  return `${stem}-${highest + 1}`;
}

function numberOf(rolloutName: string): number {
  return Number(ROLLOUT_NAME.exec(rolloutName)?.[1] ?? 0);
}

/** Whether the rollout already moves the set to where it should be. A stopped one does not: applying again is how to retry. */
export function isRightRollout(rollout: Rollout | undefined, set: NodeSet, revision: string): boolean {
  return rollout !== undefined && rollout.status?.phase !== "Stopped" && hasTarget(rollout, set, revision);
}

/** Whether the rollout moves the set, or did until it was stopped, to where it should be. */
export function hasTarget({ spec }: Rollout, set: NodeSet, revision: string): boolean {
  return (
    spec.revision === revision && spec.profile === set.spec.profile && JSON.stringify(spec.strategy) === JSON.stringify(set.spec.strategy)
  );
}
