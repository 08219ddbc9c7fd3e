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
import type { Catalog } from "./catalog.ts";

/** What sets name. */
export interface Content {
  readonly profiles: ReadonlyMap<string, NodeProfile>;
  readonly locks: ReadonlyMap<string, ImageLock>;
  readonly clusters: ReadonlyMap<string, Cluster>;
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
  };
}

/** The profile of a set with its locks and cluster, and the revision they make; without facts, so what only some nodes cannot do shows at those nodes. */
export function resolveSet({ metadata, spec }: NodeSet, content: Content): Resolution {
  if (spec.cluster === undefined) return resolveProfile(spec.profile, content);
  const cluster = content.clusters.get(spec.cluster);
  if (cluster === undefined) {
    return {
      ok: false,
      message: `Cluster ${spec.cluster} does not exist; adopt it: drover cluster adopt ${spec.cluster} --kubeconfig FILE`,
    };
  }
  return resolveProfile(spec.profile, content, { cluster, nodeSet: metadata.name, rejoin: 0 });
}

/** A profile on its own, of a set without a cluster. */
export function resolveProfile(profileName: string, content: Content, membership?: Membership): Resolution {
  const profile = content.profiles.get(profileName);
  if (profile === undefined) return { ok: false, message: `NodeProfile ${profileName} does not exist; apply it: drover apply -f` };
  const locks = [...content.locks.values()].filter(({ metadata }) => metadata.name === profile.spec.images?.lock);
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
