/**
 * The Store's decisions, parsed once and kept current by its watch: what everybody reads who must not list the store at each change.
 * Writers commit with the revisions found here; whoever was stale loses and looks again.
 */
import type {
  Cluster,
  DroverObject,
  ImageLock,
  JoinToken,
  Kind,
  MaintenanceWindow,
  Node,
  NodeProfile,
  NodeSet,
  Repair,
  Rollout,
} from "@drover/api";
import type {
  BootstrapTokenRecord,
  DesiredNode,
  ExpectedNodeRecord,
  JoinTokenRecord,
  MaintenanceRecord,
  NodeRecord,
  OperatorRecord,
  RestoredRecord,
  RevisionRecord,
  SlotRecord,
} from "../records.ts";
import { keys } from "../store/keys.ts";
import type { Store, StoreEntry } from "../store/store.ts";
import { readJson } from "../store/values.ts";

export interface Stored<T> {
  readonly value: T;
  readonly revision: number;
}

export interface ObjectOf {
  readonly NodeProfile: NodeProfile;
  readonly NodeSet: NodeSet;
  readonly Node: Node;
  readonly Cluster: Cluster;
  readonly Rollout: Rollout;
  readonly MaintenanceWindow: MaintenanceWindow;
  readonly Repair: Repair;
  readonly ImageLock: ImageLock;
  readonly JoinToken: JoinToken;
}

export interface CatalogChange {
  readonly key: string;
  readonly revision: number;
  readonly isDeleted: boolean;
}

const PREFIXES = [
  "objects/",
  keys.nodes,
  keys.allDesired,
  keys.joinTokens,
  keys.bootstrapTokens,
  keys.expectedNodes,
  keys.operators,
  keys.maintenances,
  keys.revisions,
  keys.changeSlots,
  keys.coordinator,
];
const HISTORY_LENGTH = 10_000;

export class Catalog {
  readonly #store: Store;
  readonly #maps = new Map<string, Map<string, Stored<unknown>>>();
  readonly #listeners = new Set<(changes: readonly CatalogChange[]) => void>();
  readonly #waiters = new Set<{ readonly revision: number; readonly resolve: () => void }>();
  #history: CatalogChange[] = [];
  #historyFrom = 0;
  #revision = -1;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The store revision this view stands at; -1 before the first load. */
  get revision(): number {
    return this.#revision;
  }

  objects<K extends Kind>(kind: K): ReadonlyMap<string, Stored<ObjectOf[K]>> {
    return this.#map(keys.objectsOf(kind)) as ReadonlyMap<string, Stored<ObjectOf[K]>>;
  }

  object(kind: Kind, name: string): Stored<DroverObject> | undefined {
    return this.#map(keys.objectsOf(kind)).get(name) as Stored<DroverObject> | undefined;
  }

  get nodeRecords(): ReadonlyMap<string, Stored<NodeRecord>> {
    return this.#map(keys.nodes) as ReadonlyMap<string, Stored<NodeRecord>>;
  }

  get desired(): ReadonlyMap<string, Stored<DesiredNode>> {
    return this.#map(keys.allDesired) as ReadonlyMap<string, Stored<DesiredNode>>;
  }

  get joinTokens(): ReadonlyMap<string, Stored<JoinTokenRecord>> {
    return this.#map(keys.joinTokens) as ReadonlyMap<string, Stored<JoinTokenRecord>>;
  }

  get bootstrapTokens(): ReadonlyMap<string, Stored<BootstrapTokenRecord>> {
    return this.#map(keys.bootstrapTokens) as ReadonlyMap<string, Stored<BootstrapTokenRecord>>;
  }

  get expectedNodes(): ReadonlyMap<string, Stored<ExpectedNodeRecord>> {
    return this.#map(keys.expectedNodes) as ReadonlyMap<string, Stored<ExpectedNodeRecord>>;
  }

  get maintenances(): ReadonlyMap<string, Stored<MaintenanceRecord>> {
    return this.#map(keys.maintenances) as ReadonlyMap<string, Stored<MaintenanceRecord>>;
  }

  get revisions(): ReadonlyMap<string, Stored<RevisionRecord>> {
    return this.#map(keys.revisions) as ReadonlyMap<string, Stored<RevisionRecord>>;
  }

  get changeSlots(): ReadonlyMap<string, Stored<SlotRecord>> {
    return this.#map(keys.changeSlots) as ReadonlyMap<string, Stored<SlotRecord>>;
  }

  get operators(): ReadonlyMap<string, Stored<OperatorRecord>> {
    return this.#map(keys.operators) as ReadonlyMap<string, Stored<OperatorRecord>>;
  }

  get planEpoch(): Stored<number> {
    const stored = this.#map(keys.coordinator).get("epoch") as Stored<{ planEpoch: number }> | undefined;
    return stored === undefined ? { value: 1, revision: 0 } : { value: stored.value.planEpoch, revision: stored.revision };
  }

  /** When somebody last accepted that the store is an old backup, Unix milliseconds; undefined: never. */
  get restoreAcceptedAtMs(): number | undefined {
    const stored = this.#map(keys.coordinator).get("epoch") as Stored<{ acceptedAtMs?: number }> | undefined;
    return stored?.value.acceptedAtMs;
  }

  get restored(): Stored<RestoredRecord> | undefined {
    return this.#map(keys.coordinator).get("restored") as Stored<RestoredRecord> | undefined;
  }

  /** The node with this name or id. */
  nodeRecordOf(nameOrId: string): Stored<NodeRecord> | undefined {
    const byId = this.nodeRecords.get(nameOrId);
    if (byId !== undefined) return byId;
    const uid = this.objects("Node").get(nameOrId)?.value.metadata.uid;
    return uid === undefined ? undefined : this.nodeRecords.get(uid);
  }

  /** Called in the order of commits, after the view has moved. @returns what takes the listener away */
  onChange(listen: (changes: readonly CatalogChange[]) => void): () => void {
    this.#listeners.add(listen);
    return () => this.#listeners.delete(listen);
  }

  /** What changed after a revision; undefined: that is too long ago to tell. */
  changesAfter(revision: number): readonly CatalogChange[] | undefined {
    if (revision < this.#historyFrom || revision > this.#revision) return undefined;
    return this.#history.filter((change) => change.revision > revision);
  }

  /** Resolves when the view stands at this revision or later. The caller brings the deadline. */
  reached(revision: number): Promise<void> {
    if (this.#revision >= revision) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.add({ revision, resolve }));
  }

  /** Loads, then follows until the signal aborts. @throws when the store fails */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const from = await this.#load();
      for await (const batch of this.#store.watch("", from, signal)) {
        if (batch.type === "compacted") break;
        this.#take(
          batch.changes.map(({ key, entry }) => ({ key, entry, revision: batch.revision })),
          batch.revision,
        );
      }
    }
  }

  async #load(): Promise<number> {
    const lists = [];
    for (const prefix of PREFIXES) lists.push({ prefix, ...(await this.#store.list(prefix)) });
    // Lists were read one after the other: the watch starts at the oldest, and what is known already is passed over.
    const from = Math.min(...lists.map(({ revision }) => revision));
    const changes: { key: string; entry: StoreEntry | undefined; revision: number }[] = [];
    for (const { prefix, entries, revision } of lists) {
      const present = new Set(entries.map(({ key }) => key));
      for (const [held, map] of this.#maps) {
        if (!held.startsWith(prefix)) continue;
        for (const name of map.keys()) if (!present.has(held + name)) changes.push({ key: held + name, entry: undefined, revision });
      }
      for (const entry of entries) changes.push({ key: entry.key, entry, revision: entry.revision });
    }
    this.#history = [];
    this.#historyFrom = from;
    this.#take(changes, from);
    return from;
  }

  #take(changes: readonly { key: string; entry: StoreEntry | undefined; revision: number }[], revision: number): void {
    const taken: CatalogChange[] = [];
    for (const { key, entry, revision } of changes) {
      const place = placeOf(key);
      if (place === undefined) continue;
      const map = this.#map(place.prefix);
      const held = map.get(place.name);
      if (entry === undefined) {
        if (held === undefined || held.revision > revision) continue;
        map.delete(place.name);
      } else {
        if (held !== undefined && held.revision >= entry.revision) continue;
        map.set(place.name, { value: readJson(entry), revision: entry.revision });
      }
      taken.push({ key, revision, isDeleted: entry === undefined });
    }
    this.#revision = Math.max(this.#revision, revision);
    this.#remember(taken);
    if (taken.length > 0) for (const listen of this.#listeners) listen(taken);
    for (const waiter of this.#waiters) {
      if (waiter.revision > this.#revision) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }

  #remember(taken: readonly CatalogChange[]): void {
    // Not spread: a load is of more than a call has arguments.
    for (const change of taken) this.#history.push(change);
    if (this.#history.length <= HISTORY_LENGTH * 1.1) return;
    const kept = this.#history.slice(-HISTORY_LENGTH);
    this.#historyFrom = this.#history[this.#history.length - kept.length - 1]!.revision;
    this.#history = kept;
  }

  #map(prefix: string): Map<string, Stored<unknown>> {
    let map = this.#maps.get(prefix);
    if (map === undefined) this.#maps.set(prefix, (map = new Map()));
    return map;
  }
}

/** The object a key is of: its kind and name. */
export function objectOfKey(key: string): { readonly kind: string; readonly name: string } | undefined {
  const [, kind, name] = /^objects\/([^/]+)\/(.+)$/.exec(key) ?? [];
  return kind === undefined || name === undefined ? undefined : { kind, name };
}

function placeOf(key: string): { readonly prefix: string; readonly name: string } | undefined {
  if (!PREFIXES.some((prefix) => key.startsWith(prefix))) return undefined;
  const slash = key.lastIndexOf("/") + 1;
  return { prefix: key.slice(0, slash), name: key.slice(slash) };
}
