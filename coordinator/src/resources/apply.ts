/**
 * Admission of one object: validated, stored with its audit record and with the Rollouts that it starts, all in one commit.
 * Nothing but a Rollout ever moves a node.
 */
import {
  canonicalJson,
  type Cluster,
  type DroverObject,
  formatProblem,
  type ImageLock,
  kinds,
  type MaintenanceWindow,
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
import {
  type Content,
  contentIn,
  currentRollout,
  hasTarget,
  isRightRollout,
  nextRolloutName,
  resolveProfile,
  resolveSet,
} from "./revisions.ts";
import { checkNames } from "./named-objects.ts";
import { startRollout, surplusRevisions } from "./start-rollout.ts";

/** Four operations each, and the object, its audit record and two of who asks besides, in a commit of at most 100. */
const MAX_SETS = 24;
const MAX_OPERATIONS_OF_ROLLOUTS = 4 * MAX_SETS;
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

type Applicable = NodeProfile | NodeSet | ImageLock | Cluster | MaintenanceWindow;

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
  const named = checkNames(object, catalog);
  if (!named.ok) return named;
  const started = rolloutsFor(object, request.actor, { catalog, clock, random });
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
  const warnings = [...named.warnings, ...started.warnings];
  return { ok: true, outcome, object: isSame ? before.value : object, rollouts: started.rollouts, warnings, operations };
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
    case "MaintenanceWindow":
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

function rolloutsFor(object: Applicable, actor: string, { catalog, clock, random }: Parts): StartedRollouts | Refusal {
  const sets = new Map([...catalog.objects("NodeSet")].map(([name, { value }]) => [name, value]));
  const content: Content = {
    ...contentIn(catalog),
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
  const stored = { rollouts: catalog.objects("Rollout"), revisions: catalog.revisions };
  const known = [...stored.rollouts.values()].map(({ value }) => value);
  // A set made again under an old name must not meet nodes that remember an old rollout of that name.
  const taken = new Set([...catalog.objects("Rollout").keys(), ...[...catalog.desired.values()].map(({ value }) => value.rollout)]);
  for (const set of affected) {
    const target = resolveSet(set, content);
    if (!target.ok) {
      warnings.push(`NodeSet/${set.metadata.name}: ${target.message}`);
      continue;
    }
    if (set.spec.revision !== undefined && (object.kind === "NodeProfile" || object.kind === "ImageLock")) warnings.push(heldText(set));
    const running = currentRollout(set.metadata.name, known);
    if (isRightRollout(running, set, target.revision)) continue;
    // A renewed credential is no wish to try again what was stopped: that is the set's or the profile's to be applied.
    if (object.kind === "Cluster" && running !== undefined && hasTarget(running, set, target.revision)) continue;
    const name = nextRolloutName(set.metadata.name, taken);
    const starting = { name, uid: random.bytes(16).toString("hex"), set, target, startedBy: actor, nowMs: clock.now() };
    const { rollout, operations: own } = startRollout(stored, starting, running);
    taken.add(name);
    rollouts.push(rollout);
    operations.push(...own);
    if (set.spec.strategy.maxUnavailable === "100%") warnings.push(allAtOnceText(rollout));
  }
  if (rollouts.length > MAX_SETS) {
    return refuse(
      "TooManyNodeSets",
      `this would start ${rollouts.length} rollouts at once, ${MAX_SETS} are possible; give some NodeSets a profile of their own`,
    );
  }
  if (rollouts.length > 0) {
    const surplus = surplusRevisions(
      stored,
      sets.values(),
      rollouts.map(({ spec }) => spec.revision),
    );
    operations.push(...surplus.slice(0, Math.max(0, MAX_OPERATIONS_OF_ROLLOUTS - operations.length)));
  }
  return { ok: true, rollouts, operations, warnings };
}

function heldText({ metadata, spec }: NodeSet): string {
  return (
    `NodeSet/${metadata.name} is held at revision ${spec.revision} and does not follow; ` +
    "apply the set without spec.revision to let it follow again"
  );
}

function allAtOnceText({ metadata }: Rollout): string {
  return (
    `Rollout/${metadata.name} moves all nodes at once, and begins when an operator has confirmed how many: ` +
    `drover rollout resume ${metadata.name} --nodes N`
  );
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
    case "MaintenanceWindow":
      return false;
  }
}
