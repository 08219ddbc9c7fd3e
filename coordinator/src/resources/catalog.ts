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
import { type EachNode, LeanMap, type Stored } from "./lean-map.ts";
import { NodeNumbers } from "./node-map.ts";

export type { EachNode, Stored } from "./lean-map.ts";

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

interface Change {
  readonly key: string;
  /** undefined: deleted. */
  readonly entry: StoreEntry | undefined;
  readonly revision: number;
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
/** Entries read at a time; between two pages others get their turn. */
const PAGE = 2_000;

type OneForEachNode = EachNode<object> & Pick<LeanMap<object>, "forgetUnused" | "revisionOf" | "take" | "delete">;

/** Of what there is one for each node, what is asked for in every look at the fleet is held in columns. */
function lean(numbers: NodeNumbers): ReadonlyMap<string, OneForEachNode> {
  // Ids and names stand in memory once.
  const nodes = new LeanMap<Node>({
    apiVersion: "word",
    kind: "word",
    metadata: { name: "name", uid: (id) => numbers.same(id), labels: "word", generation: "number", creationTimestamp: "time" },
  });
  const records = new LeanMap<NodeRecord>(
    {
      nodeId: "name",
      name: (name) => nodes.sameName(name),
      revokedAtMs: "number",
      rejoin: "number",
      keyFingerprint: "hex",
      certificateSerial: "hex",
      natsPublicKey: "base32",
    },
    numbers,
  );
  const desired = new LeanMap<DesiredNode>(
    {
      nodeId: "name",
      planEpoch: "number",
      generation: "number",
      revision: "word",
      nodeSet: "word",
      rollout: "word",
      decidedAtMs: "number",
      rejoin: "number",
      enforcedAtMs: "number",
      interruptions: "number",
    },
    numbers,
    "plan",
  );
  return new Map<string, OneForEachNode>([
    [keys.nodes, records],
    [keys.allDesired, desired],
    [keys.objectsOf("Node"), nodes],
    [keys.joinTokens, new LeanMap<JoinTokenRecord>({ id: "name" })],
    [keys.objectsOf("JoinToken"), new LeanMap<JoinToken>({ apiVersion: "word", kind: "word" })],
  ]);
}

export class Catalog {
  readonly #store: Store;
  readonly #maps = new Map<string, Map<string, Stored<unknown>>>();
  /** For others that hold something for each node. */
  readonly numbers = new NodeNumbers();
  readonly #lean = lean(this.numbers);
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
    return this.#read(keys.objectsOf(kind)) as ReadonlyMap<string, Stored<ObjectOf[K]>>;
  }

  get nodes(): EachNode<Node> {
    return this.#read(keys.objectsOf("Node")) as EachNode<Node>;
  }

  object(kind: Kind, name: string): Stored<DroverObject> | undefined {
    return this.#read(keys.objectsOf(kind)).get(name) as Stored<DroverObject> | undefined;
  }

  get nodeRecords(): EachNode<NodeRecord> {
    return this.#read(keys.nodes) as EachNode<NodeRecord>;
  }

  get desired(): EachNode<DesiredNode> {
    return this.#read(keys.allDesired) as EachNode<DesiredNode>;
  }

  get joinTokens(): ReadonlyMap<string, Stored<JoinTokenRecord>> {
    return this.#read(keys.joinTokens) as ReadonlyMap<string, Stored<JoinTokenRecord>>;
  }

  get bootstrapTokens(): ReadonlyMap<string, Stored<BootstrapTokenRecord>> {
    return this.#read(keys.bootstrapTokens) as ReadonlyMap<string, Stored<BootstrapTokenRecord>>;
  }

  get expectedNodes(): ReadonlyMap<string, Stored<ExpectedNodeRecord>> {
    return this.#read(keys.expectedNodes) as ReadonlyMap<string, Stored<ExpectedNodeRecord>>;
  }

  get maintenances(): ReadonlyMap<string, Stored<MaintenanceRecord>> {
    return this.#read(keys.maintenances) as ReadonlyMap<string, Stored<MaintenanceRecord>>;
  }

  get revisions(): ReadonlyMap<string, Stored<RevisionRecord>> {
    return this.#read(keys.revisions) as ReadonlyMap<string, Stored<RevisionRecord>>;
  }

  get changeSlots(): ReadonlyMap<string, Stored<SlotRecord>> {
    return this.#read(keys.changeSlots) as ReadonlyMap<string, Stored<SlotRecord>>;
  }

  get operators(): ReadonlyMap<string, Stored<OperatorRecord>> {
    return this.#read(keys.operators) as ReadonlyMap<string, Stored<OperatorRecord>>;
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

  /** Called now and then: what nobody has asked for since the call before the last one is held in its smallest form. */
  forgetUnused(): void {
    for (const map of this.#lean.values()) map.forgetUnused();
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
    // Pages are read one after the other: the watch starts at the oldest, and what is known already is passed over.
    let from = Infinity;
    this.#history = [];
    for (const prefix of PREFIXES) {
      const present = new Set<string>();
      for (let after = prefix; ; ) {
        const { entries, revision } = await this.#store.list(prefix, { after, limit: PAGE });
        from = Math.min(from, revision);
        if (this.#revision >= 0) for (const { key } of entries) present.add(key);
        this.#tell(this.#put(entries.map((entry) => ({ key: entry.key, entry, revision: entry.revision }))));
        if (entries.length < PAGE) break;
        after = entries.at(-1)!.key;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      if (this.#revision >= 0) this.#tell(this.#put(this.#absent(prefix, present, from)));
    }
    this.#history = [];
    this.#historyFrom = from;
    this.#stand(from);
    return from;
  }

  /** What we hold under the prefix and the store does not any more. */
  #absent(prefix: string, present: ReadonlySet<string>, revision: number): Change[] {
    const gone: Change[] = [];
    for (const [held, map] of [...this.#maps, ...this.#lean]) {
      if (!held.startsWith(prefix)) continue;
      for (const name of map.keys()) if (!present.has(held + name)) gone.push({ key: held + name, entry: undefined, revision });
    }
    return gone;
  }

  #take(changes: readonly Change[], revision: number): void {
    const taken = this.#put(changes);
    this.#revision = Math.max(this.#revision, revision);
    this.#remember(taken);
    this.#tell(taken);
    this.#stand(revision);
  }

  /** @returns what was news */
  #put(changes: readonly Change[]): CatalogChange[] {
    const taken: CatalogChange[] = [];
    for (const { key, entry, revision } of changes) {
      const place = placeOf(key);
      if (place === undefined) continue;
      const lean = this.#lean.get(place.prefix);
      const map = this.#map(place.prefix);
      const held = lean?.revisionOf(place.name) ?? map.get(place.name)?.revision ?? 0;
      if (entry === undefined ? held === 0 || held > revision : held >= entry.revision) continue;
      if (entry === undefined) (lean ?? map).delete(place.name);
      else if (lean !== undefined) lean.take(place.name, entry);
      else map.set(place.name, { value: readJson(entry), revision: entry.revision });
      taken.push({ key, revision, isDeleted: entry === undefined });
    }
    return taken;
  }

  #tell(taken: readonly CatalogChange[]): void {
    if (taken.length > 0) for (const listen of this.#listeners) listen(taken);
  }

  #stand(revision: number): void {
    this.#revision = Math.max(this.#revision, revision);
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

  #read(prefix: string): ReadonlyMap<string, Stored<unknown>> {
    return this.#lean.get(prefix) ?? this.#map(prefix);
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
