/**
 * Admission of one object: validated, stored with its audit record and with the Rollouts that it starts, all in one commit.
 * Nothing but a Rollout ever moves a node.
 */
import {
  API_VERSION,
  canonicalJson,
  type Cluster,
  type DroverObject,
  formatProblem,
  type ImageLock,
  kinds,
  type NodeProfile,
  type NodeSet,
  revisionOf,
  revisionOfLock,
  type Rollout,
  validateObject,
} from "@drover/api";
import type { Clock, Random } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { keys } from "../store/keys.ts";
import type { StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import type { Catalog, Stored } from "./catalog.ts";
import { timestamp } from "./node-status.ts";
import { type Content, currentRollout, hasTarget, isRightRollout, nextRolloutName, resolveProfile, resolveSet } from "./revisions.ts";

/** Three operations each, and the object and its audit record besides, in a commit of at most 100. */
const MAX_SETS = 32;
const KEPT_SUPERSEDED = 10;
/** In place of a resourceVersion: there must be no such object yet. */
export const MUST_BE_NEW = -1;

export interface ApplyRequest {
  readonly json: Uint8Array;
  /** 0: not checked; or MUST_BE_NEW. */
  readonly expectedResourceVersion: number;
  /** As in the audit log. */
  readonly actor: string;
}

export interface ApplyPlan {
  readonly ok: true;
  readonly outcome: "created" | "configured" | "unchanged";
  readonly object: DroverObject;
  readonly rollouts: readonly Rollout[];
  readonly warnings: readonly string[];
  /** Empty: nothing is to be written. */
  readonly operations: readonly StoreOperation[];
}

type Applicable = NodeProfile | NodeSet | ImageLock | Cluster;

interface Parts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
}

/** What applying would do, as operations with the revisions it was decided on; writes nothing. */
export function planApply({ catalog, clock, random }: Parts, request: ApplyRequest): ApplyPlan | Refusal {
  const admitted = admit(request.json);
  if (!admitted.ok) return admitted;
  const { wanted } = admitted;
  const { kind } = wanted;
  const name = wanted.metadata.name;
  const before = catalog.object(kind, name) as Stored<Applicable> | undefined;
  const mismatch = checkVersion(kind, name, before, request.expectedResourceVersion);
  if (mismatch !== undefined) return mismatch;

  const object = merged(wanted, before?.value, catalog, clock, random);
  const isSame = before !== undefined && canonicalJson(contentOf(before.value)) === canonicalJson(contentOf(object));
  const outcome = before === undefined ? "created" : isSame ? "unchanged" : "configured";
  const started = rolloutsFor(object, { catalog, clock, random });
  if (!started.ok) return started;

  const operations: StoreOperation[] = [];
  if (!isSame) operations.push(putJson(keys.object(kind, name), object, before?.revision ?? 0));
  operations.push(...started.operations);
  if (operations.length > 0) {
    const message = [outcome, ...started.rollouts.map(({ metadata }) => `starts Rollout/${metadata.name}`)].join(", ");
    const entry = {
      atMs: clock.now(),
      actor: request.actor,
      action: "ApplyObject",
      target: `${kind}/${name}`,
      outcome: "ok",
      message,
    } as const;
    operations.push(auditOperation(entry, random));
  }
  return { ok: true, outcome, object: isSame ? before.value : object, rollouts: started.rollouts, warnings: started.warnings, operations };
}

function admit(json: Uint8Array): { readonly ok: true; readonly wanted: Applicable } | Refusal {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(json).toString("utf8"));
  } catch (error) {
    return refuse("InvalidObject", `the object is no JSON: ${(error as Error).message}`);
  }
  const validation = validateObject(parsed);
  if (!validation.ok) return refuse("InvalidObject", validation.problems.map(formatProblem).join("\n"));
  const { object } = validation;
  if (!kinds[object.kind].isApplicable) {
    return refuse("NotApplicable", `a ${object.kind} is made by the coordinator, not applied`);
  }
  return { ok: true, wanted: object as Applicable };
}

export function checkVersion(kind: string, name: string, before: Stored<unknown> | undefined, expected: number): Refusal | undefined {
  if (expected === 0 || expected === before?.revision || (expected === MUST_BE_NEW && before === undefined)) return undefined;
  if (expected === MUST_BE_NEW)
    return refuse("Conflict", `${kind}/${name} has been made by somebody else meanwhile; look at it, then repeat the change`);
  const has = before === undefined ? "it does not exist" : `it has resourceVersion ${before.revision}`;
  return refuse("Conflict", `${kind}/${name} was expected at resourceVersion ${expected}, but ${has}; get it again and repeat the change`);
}

/** The wanted object with what the coordinator gives: uid, generation, creation time, the revision of its content. */
function merged(wanted: Applicable, before: Applicable | undefined, catalog: Catalog, clock: Clock, random: Random): Applicable {
  const isSpecSame = before !== undefined && canonicalJson(before.spec) === canonicalJson(wanted.spec);
  const { labels, annotations, name } = wanted.metadata;
  const metadata = {
    name,
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
    uid: before?.metadata.uid ?? random.bytes(16).toString("hex"),
    generation: (before?.metadata.generation ?? 0) + (isSpecSame ? 0 : 1),
    creationTimestamp: before?.metadata.creationTimestamp ?? timestamp(clock.now()),
  };
  switch (wanted.kind) {
    case "NodeProfile": {
      const locks = [...catalog.objects("ImageLock").values()].map(({ value }) => value);
      return { ...wanted, metadata, status: { revision: revisionOf(wanted, locks) } };
    }
    case "ImageLock":
      return { ...wanted, metadata, status: { revision: revisionOfLock(wanted) } };
    case "Cluster":
    case "NodeSet": {
      const { status: _computed, ...rest } = wanted;
      return { ...rest, metadata };
    }
  }
}

function contentOf(object: Applicable): unknown {
  const { labels, annotations } = object.metadata;
  return { labels: labels ?? {}, annotations: annotations ?? {}, spec: object.spec };
}

interface StartedRollouts {
  readonly ok: true;
  readonly rollouts: readonly Rollout[];
  readonly operations: readonly StoreOperation[];
  readonly warnings: readonly string[];
}

function rolloutsFor(object: Applicable, { catalog, clock, random }: Parts): StartedRollouts | Refusal {
  const sets = new Map([...catalog.objects("NodeSet")].map(([name, { value }]) => [name, value]));
  const content: Content = {
    profiles: withObject(catalog.objects("NodeProfile"), object, "NodeProfile"),
    locks: withObject(catalog.objects("ImageLock"), object, "ImageLock"),
    clusters: withObject(catalog.objects("Cluster"), object, "Cluster"),
  };
  if (object.kind === "NodeSet") sets.set(object.metadata.name, object);
  const affected = [...sets.values()].filter((set) => isAffected(set, object, content));
  const operations: StoreOperation[] = [];
  const rollouts: Rollout[] = [];
  const warnings: string[] = [];
  if (object.kind === "NodeProfile" && affected.length === 0) {
    const resolved = resolveProfile(object.metadata.name, content);
    if (!resolved.ok) warnings.push(resolved.message);
  }
  const stored = [...catalog.objects("Rollout").values()].map(({ value }) => value);
  // A set made again under an old name must not meet nodes that remember an old rollout of that name.
  const taken = new Set([...catalog.objects("Rollout").keys(), ...[...catalog.desired.values()].map(({ value }) => value.rollout)]);
  for (const set of affected) {
    const resolved = resolveSet(set, content);
    if (!resolved.ok) {
      warnings.push(`NodeSet/${set.metadata.name}: ${resolved.message}`);
      continue;
    }
    const running = currentRollout(set.metadata.name, stored);
    if (isRightRollout(running, set, resolved.revision)) continue;
    // A renewed credential is no wish to try again what was stopped: that is the set's or the profile's to be applied.
    if (object.kind === "Cluster" && running !== undefined && hasTarget(running, set, resolved.revision)) continue;
    const rollout = newRollout(nextRolloutName(set.metadata.name, taken), set, resolved.revision, clock, random);
    taken.add(rollout.metadata.name);
    rollouts.push(rollout);
    operations.push(putJson(keys.object("Rollout", rollout.metadata.name), rollout, 0));
    if (running !== undefined) operations.push(supersede(running, rollout.metadata.name, catalog, clock));
    operations.push(...forgetOldest(set.metadata.name, stored));
  }
  if (rollouts.length > MAX_SETS) {
    return refuse(
      "TooManyNodeSets",
      `this would start ${rollouts.length} rollouts at once, ${MAX_SETS} are possible; give some NodeSets a profile of their own`,
    );
  }
  return { ok: true, rollouts, operations, warnings };
}

function withObject<K extends "NodeProfile" | "ImageLock" | "Cluster">(
  stored: ReadonlyMap<string, Stored<Extract<DroverObject, { kind: K }>>>,
  object: Applicable,
  kind: K,
): Map<string, Extract<DroverObject, { kind: K }>> {
  const objects = new Map([...stored].map(([name, { value }]) => [name, value]));
  if (object.kind === kind) objects.set(object.metadata.name, object as Extract<DroverObject, { kind: K }>);
  return objects;
}

function isAffected(set: NodeSet, object: Applicable, content: Content): boolean {
  switch (object.kind) {
    case "NodeSet":
      return set.metadata.name === object.metadata.name;
    case "NodeProfile":
      return set.spec.profile === object.metadata.name;
    case "Cluster":
      return set.spec.cluster === object.metadata.name;
    case "ImageLock":
      return content.profiles.get(set.spec.profile)?.spec.images?.lock === object.metadata.name;
  }
}

function newRollout(name: string, set: NodeSet, revision: string, clock: Clock, random: Random): Rollout {
  const now = timestamp(clock.now());
  return {
    apiVersion: API_VERSION,
    kind: "Rollout",
    metadata: { name, uid: random.bytes(16).toString("hex"), generation: 1, creationTimestamp: now },
    spec: { nodeSet: set.metadata.name, profile: set.spec.profile, revision, strategy: set.spec.strategy },
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

function forgetOldest(setName: string, stored: readonly Rollout[]): StoreOperation[] {
  const superseded = stored.filter(({ spec, status }) => spec.nodeSet === setName && status?.phase === "Superseded");
  if (superseded.length < KEPT_SUPERSEDED) return [];
  const age = ({ metadata }: Rollout): string => metadata.creationTimestamp ?? "";
  const oldest = superseded.reduce((a, b) => (age(b) < age(a) ? b : a));
  return [{ type: "delete", key: keys.object("Rollout", oldest.metadata.name) }];
}

function supersede(running: Rollout, by: string, catalog: Catalog, clock: Clock): StoreOperation {
  const name = running.metadata.name;
  const status = {
    ...running.status!,
    phase: "Superseded" as const,
    reason: "Superseded",
    message: `by ${by}`,
    waiting: [],
    finishedAt: timestamp(clock.now()),
  };
  return putJson(keys.object("Rollout", name), { ...running, status }, catalog.objects("Rollout").get(name)!.revision);
}
