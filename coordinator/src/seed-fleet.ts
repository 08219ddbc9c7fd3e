/**
 * A fleet that is enrolled, and where wanted rolled out to, written into a new data directory before its coordinator starts: for simulations, which would
 * else enrol 100,000 nodes over gRPC. Uses the records, the admission and the report log of the product; what it writes is what they would have written.
 */
import type { Node, Rollout } from "@drover/api";
import { API_VERSION } from "@drover/api";
import { type Random, systemClock, systemRandom } from "@drover/lifecycle";
import { Plan } from "@drover/proto";
import type { ReportMessage } from "./bus/bus.ts";
import { dataFiles, makeDataDirectory } from "./data-files.ts";
import { makeDesired } from "./dispatch/desired.ts";
import type { DesiredNode, NodeRecord } from "./records.ts";
import { openSqliteReportLog } from "./reportlog/sqlite-report-log.ts";
import { planApply } from "./resources/apply.ts";
import { Catalog } from "./resources/catalog.ts";
import { contentIn, resolveSet } from "./resources/revisions.ts";
import { keys } from "./store/keys.ts";
import { MAX_OPERATIONS } from "./store/operations.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";
import type { Store, StoreOperation } from "./store/store.ts";
import { putJson } from "./store/values.ts";

export interface SeedNode {
  /** 10 base32 characters. */
  readonly nodeId: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** "U...". */
  readonly natsPublicKey: string;
  /** SHA-256 hex over the SPKI of its TLS key. */
  readonly keyFingerprint: string;
}

export interface SeedFleet {
  /** Of the coordinator that will serve from it; empty yet. */
  readonly dataDir: string;
  readonly nodes: readonly SeedNode[];
  /** NodeProfiles, ImageLocks and then NodeSets, as they would be applied. */
  readonly objects: readonly object[];
  /** Whether every node has what its set says since an hour; else the rollouts of the objects begin with the coordinator. */
  readonly isConverged: boolean;
  /** Which set a node is in when it has converged. */
  readonly nodeSetOf?: (index: number) => string;
  /** The encoded ReportBatches that its node had sent; told in the order of seq. */
  readonly reportsOf?: (index: number, desired: DesiredNode | undefined) => readonly Uint8Array[];
}

const HOUR_MS = 3_600_000;
/** Several are added at a time. */
const OPERATIONS_PER_COMMIT = MAX_OPERATIONS - 10;
/** Transactions of this many commits: in one alone a million nodes would stand in memory three times. */
const COMMITS_PER_TURN = 500;
const MESSAGES_PER_PULL = 500;
const NODE_LIFE_MS = 7 * 24 * HOUR_MS;

/** @throws when an object is refused */
export async function seedFleet(fleet: SeedFleet): Promise<void> {
  const files = dataFiles(fleet.dataDir);
  await makeDataDirectory(files);
  // What is seeded has no history: nobody has watched.
  const store = openSqliteStore(files.store, { historyRevisions: 1 });
  const reportLog = openSqliteReportLog(files.reportLog);
  try {
    const nowMs = systemClock.now();
    await store.commit([putJson(keys.epoch, { planEpoch: 1 }, 0)]);
    const plans = await applyObjects(store, fleet.objects, systemRandom);
    const commits = new GroupedCommits(store);
    const messages: ReportMessage[] = [];
    let sequence = 0;
    const flush = async (): Promise<void> => {
      if (messages.length === 0) return;
      const pull = messages.splice(0);
      const [first, last] = [pull[0]!.sequence, pull.at(-1)!.sequence];
      await reportLog.append({ incarnation: "seeded", firstSequence: first, lastSequence: last, messages: pull }, nowMs - HOUR_MS);
    };
    for (const [index, node] of fleet.nodes.entries()) {
      const operations = enrolled(node, nowMs - 2 * HOUR_MS);
      const template = fleet.isConverged && fleet.nodeSetOf !== undefined ? plans.get(fleet.nodeSetOf(index)) : undefined;
      const desired = template && forNode(template, node.nodeId);
      if (desired !== undefined) operations.push(putJson(keys.desired(node.nodeId), desired));
      await commits.add(operations);
      for (const payload of fleet.reportsOf?.(index, desired) ?? []) messages.push({ nodeId: node.nodeId, payload, sequence: ++sequence });
      if (messages.length >= MESSAGES_PER_PULL) await flush();
    }
    await commits.end();
    await flush();
  } finally {
    await reportLog.close();
    await store.close();
  }
}

interface Template {
  readonly desired: DesiredNode;
  readonly plan: Plan;
}

/** Applies as operators do, and makes what a node of each set is then told to be. @returns by the set's name */
async function applyObjects(store: Store, objects: readonly object[], random: Random): Promise<ReadonlyMap<string, Template>> {
  const catalog = new Catalog(store);
  const ended = new AbortController();
  const running = catalog.run(ended.signal);
  const templates = new Map<string, Template>();
  try {
    await catalog.reached(0);
    for (const object of objects) {
      const request = { json: Buffer.from(JSON.stringify(object)), expectedResourceVersion: 0, actor: "operator:sim" };
      const plan = planApply({ catalog, clock: systemClock, random }, request);
      if (!plan.ok) throw new Error(`seeding: ${plan.reason}: ${plan.message}`);
      const committed = await store.commit(plan.operations);
      if (!committed.ok) throw new Error(`seeding: ${committed.conflict.key} was written meanwhile`);
      await catalog.reached(committed.revision);
      for (const rollout of plan.rollouts) templates.set(rollout.spec.nodeSet, templateOf(catalog, rollout));
    }
  } finally {
    ended.abort();
    await running;
  }
  return templates;
}

function templateOf(catalog: Catalog, rollout: Rollout): Template {
  const set = catalog.objects("NodeSet").get(rollout.spec.nodeSet)!.value;
  const resolution = resolveSet(set, contentIn(catalog));
  if (!resolution.ok) throw new Error(`seeding: ${resolution.message}`);
  const nowMs = systemClock.now() - HOUR_MS;
  const made = makeDesired({
    nodeId: "aaaaaaaaaa",
    nodeSet: rollout.spec.nodeSet,
    rollout: rollout.metadata.name,
    profile: resolution.profile,
    locks: resolution.locks,
    membership: resolution.membership,
    facts: undefined,
    planEpoch: 1,
    before: undefined,
    isBeforeEnforced: false,
    nowMs,
  });
  if (!made.ok) throw new Error(`seeding: ${made.message}`);
  return { desired: { ...made.desired, enforcedAtMs: nowMs }, plan: Plan.decode(Buffer.from(made.desired.plan, "base64")) };
}

function forNode({ desired, plan }: Template, nodeId: string): DesiredNode {
  const bytes = Plan.encode({ ...plan, nodeId }).finish();
  return { ...desired, nodeId, plan: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64") };
}

function enrolled(node: SeedNode, atMs: number): StoreOperation[] {
  const { nodeId, name, natsPublicKey, keyFingerprint } = node;
  const record: NodeRecord = {
    nodeId,
    name,
    enrolledAtMs: atMs,
    keyFingerprint,
    certificateSerial: keyFingerprint.slice(0, 32),
    certificateNotAfterMs: atMs + NODE_LIFE_MS,
    natsPublicKey,
    renewalCounter: 0,
    recoveredSerials: [],
    bakeManifestDigest: "",
  };
  const object: Node = {
    apiVersion: API_VERSION,
    kind: "Node",
    metadata: { name, uid: nodeId, labels: { ...node.labels }, generation: 1, creationTimestamp: new Date(atMs).toISOString() },
    spec: {},
  };
  return [putJson(keys.node(nodeId), record), putJson(keys.object("Node", name), object), putJson(keys.natsKey(natsPublicKey), { nodeId })];
}

/** Many commits, each of many nodes, some hundreds in one transaction. */
class GroupedCommits {
  readonly #store: Store;
  #operations: StoreOperation[] = [];
  #turn: Promise<unknown>[] = [];

  constructor(store: Store) {
    this.#store = store;
  }

  async add(operations: readonly StoreOperation[]): Promise<void> {
    this.#operations.push(...operations);
    if (this.#operations.length < OPERATIONS_PER_COMMIT) return;
    this.#turn.push(this.#store.commit(this.#operations));
    this.#operations = [];
    if (this.#turn.length >= COMMITS_PER_TURN) await Promise.all(this.#turn.splice(0));
  }

  async end(): Promise<void> {
    if (this.#operations.length > 0) this.#turn.push(this.#store.commit(this.#operations.splice(0)));
    await Promise.all(this.#turn.splice(0));
  }
}
