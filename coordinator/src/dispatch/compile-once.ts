/**
 * Compiling a profile, once for all nodes for which the outcome is the same: in a rollout of 100,000 nodes they differ in what their plan is called, not in
 * what it says. Where a cluster is joined, each node's own name is part of it, and nothing is shared. Pure but for what it remembers.
 */
import { type Compilation, compile, type ImageLock, type Membership, type NodeProfile } from "@drover/api";
import type { Facts } from "@drover/proto";

interface Compiled {
  readonly locks: readonly ImageLock[];
  /** By what compile() asks of a node's facts: its versions. */
  readonly byVersions: Map<string, Compilation>;
}

/** More than a fleet has; beyond that somebody invents versions. */
const MAX_VERSIONS = 1_000;
/** Profiles and locks are never changed, but replaced. */
const cache = new WeakMap<NodeProfile, Compiled>();

export function compileOnce(
  profile: NodeProfile,
  locks: readonly ImageLock[],
  facts: Facts | undefined,
  membership: Membership | undefined,
): Compilation {
  if (membership !== undefined) return compile(profile, locks, facts, membership);
  let compiled = cache.get(profile);
  if (compiled === undefined || compiled.byVersions.size >= MAX_VERSIONS || !isSame(compiled.locks, locks)) {
    compiled = { locks, byVersions: new Map() };
    cache.set(profile, compiled);
  }
  const key = facts === undefined ? "" : JSON.stringify(Object.entries(facts.versions).sort(([a], [b]) => (a < b ? -1 : 1)));
  const known = compiled.byVersions.get(key);
  if (known !== undefined) return known;
  const compilation = compile(profile, locks, facts);
  // What cannot be compiled is told with the node's name.
  if (compilation.ok) compiled.byVersions.set(key, compilation);
  return compilation;
}

function isSame(a: readonly ImageLock[], b: readonly ImageLock[]): boolean {
  return a.length === b.length && a.every((lock, index) => lock === b[index]);
}
