/**
 * Following objects of one kind: stored changes and changes of computed status alike. Level-triggered and coalesced: a slow reader gets
 * the newest state of each object, never a queue without end.
 */
import { canonicalJson, type DroverObject, type Kind, type Selector } from "@drover/api";
import { matchesSelector } from "@drover/api";
import type { FleetView } from "../fleet/fleet.ts";
import { Refused, refuse } from "../refusal.ts";
import { keys } from "../store/keys.ts";
import { type Catalog, objectOfKey } from "./catalog.ts";
import type { Seen, View } from "./view.ts";

export interface WatchRequest {
  readonly kind: Kind;
  readonly selector: Selector | undefined;
  /** Empty: all names. */
  readonly name: string;
  /** Changes after this store revision; 0: the present state first. */
  readonly fromRevision: number;
}

export type WatchEvent =
  | {
      readonly type: "added" | "modified" | "deleted";
      readonly object: DroverObject;
      readonly resourceVersion: number;
      readonly revision: number;
    }
  | { readonly type: "bookmark"; readonly revision: number };

export interface WatchParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly view: View;
  /** Says which nodes' computed status may have changed for another reason than a report. */
  readonly onNodeChange: (listen: (nodeId: string) => void) => () => void;
}

/** @throws Refused Compacted when fromRevision is too long ago */
export async function* watchObjects(parts: WatchParts, request: WatchRequest, signal: AbortSignal): AsyncGenerator<WatchEvent, void> {
  const { catalog, fleet, view, onNodeChange } = parts;
  const dirty = new Set<string>();
  let wake: (() => void) | undefined;
  const mark = (name: string | undefined): void => {
    if (name === undefined || (request.name !== "" && name !== request.name)) return;
    dirty.add(name);
    wake?.();
  };
  const nodeMoved = (nodeIds: readonly string[]): void => {
    if (request.kind === "Node") for (const nodeId of nodeIds) mark(catalog.nodeRecords.get(nodeId)?.value.name);
    if (request.kind === "NodeSet") for (const name of catalog.objects("NodeSet").keys()) mark(name);
  };
  const stops = [
    catalog.onChange((changes) => {
      for (const { key } of changes) {
        const object = objectOfKey(key);
        if (object?.kind === request.kind) mark(object.name);
        else if (object?.kind === "Rollout" || object?.kind === "NodeSet") nodeMoved([]);
        if (key.startsWith(keys.allDesired)) nodeMoved([key.slice(keys.allDesired.length)]);
        if (key.startsWith(keys.maintenances)) nodeMoved([key.slice(keys.maintenances.length)]);
        if (key.startsWith(keys.nodes)) nodeMoved([key.slice(keys.nodes.length)]);
        if (key === keys.restored) nodeMoved([]);
      }
    }),
    fleet.onChange(nodeMoved),
    onNodeChange((nodeId) => nodeMoved([nodeId])),
  ];
  const onAbort = (): void => wake?.();
  signal.addEventListener("abort", onAbort, { once: true });
  /** What the reader has, by name: to tell ADDED from MODIFIED and to say nothing twice. */
  const sent = new Map<string, { readonly text: string; readonly object: DroverObject }>();
  try {
    if (request.fromRevision === 0) {
      for (const name of catalog.objects(request.kind).keys()) mark(name);
    } else {
      const changes = catalog.changesAfter(request.fromRevision);
      if (changes === undefined)
        throw new Refused(refuse("Compacted", `revision ${request.fromRevision} is too long ago; list again and watch from there`));
      for (const name of catalog.objects(request.kind).keys()) assume(sent, view.see(request.kind, name), request);
      for (const { key, isDeleted } of changes) {
        const object = objectOfKey(key);
        if (object?.kind !== request.kind) continue;
        if (isDeleted && view.see(request.kind, object.name) === undefined)
          sent.set(object.name, { text: "", object: tombstone(request.kind, object.name) });
        mark(object.name);
      }
      // Status is not in the store's history: whoever resumes is told how it stands.
      if (request.kind === "Node" || request.kind === "NodeSet") for (const name of catalog.objects(request.kind).keys()) mark(name);
    }
    let isFirst = true;
    while (!signal.aborted) {
      for (const name of [...dirty].sort()) {
        dirty.delete(name);
        const event = eventOf(view.see(request.kind, name), name, request, sent);
        if (event !== undefined) yield { ...event, revision: view.revision };
        if (signal.aborted) return;
      }
      if (isFirst) yield { type: "bookmark", revision: view.revision };
      isFirst = false;
      if (dirty.size === 0 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
      }
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    for (const stop of stops) stop();
  }
}

type Sent = Map<string, { readonly text: string; readonly object: DroverObject }>;

function assume(sent: Sent, seen: Seen | undefined, { selector, name }: WatchRequest): void {
  if (seen === undefined || (name !== "" && seen.object.metadata.name !== name)) return;
  if (selector === undefined || matchesSelector(selector, seen.labels))
    sent.set(seen.object.metadata.name, { text: "", object: seen.object });
}

function eventOf(seen: Seen | undefined, name: string, { selector }: WatchRequest, sent: Sent) {
  const held = sent.get(name);
  if (seen === undefined || (selector !== undefined && !matchesSelector(selector, seen.labels))) {
    sent.delete(name);
    return held === undefined ? undefined : { type: "deleted" as const, object: held.object, resourceVersion: seen?.revision ?? 0 };
  }
  const text = comparable(seen.object);
  if (held?.text === text) return undefined;
  sent.set(name, { text, object: seen.object });
  return { type: held === undefined ? ("added" as const) : ("modified" as const), object: seen.object, resourceVersion: seen.revision };
}

/** Without what moves with every beat. */
function comparable(object: DroverObject): string {
  if (object.kind !== "Node") return canonicalJson(object);
  return canonicalJson({ ...object, status: { ...object.status, lastHeartbeatTime: undefined } });
}

function tombstone(kind: Kind, name: string): DroverObject {
  return { apiVersion: "drover.dev/v1alpha1", kind, metadata: { name }, spec: {} } as DroverObject;
}
