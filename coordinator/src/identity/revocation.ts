/** Revoking a node: the record first, for good; then NATS is told, again and again until it was. */
import { type Clock, exponentialBackoff, type Log, type Random, sleep, withDeadline } from "@drover/lifecycle";
import { isNodeId } from "@drover/proto";
import { auditOperation } from "../audit/audit.ts";
import type { Bus } from "../bus/bus.ts";
import { mayBeRevoked, type NodeRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import type { Store, StoreEntry } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { type Refusal, refuse } from "./refusal.ts";

const BUS_DEADLINE_MS = 5000;
const MAX_ATTEMPTS = 10;
/** Records read at a time. */
const PAGE = 2_000;

export interface RevocationDependencies {
  readonly store: Store;
  readonly bus: Pick<Bus, "revokeUser">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** isCutFromNats false: revoked, but NATS could not be told yet; `keepRevoked` goes on trying. */
export type Revocation = { readonly ok: true; readonly nodeId: string; readonly isCutFromNats: boolean } | Refusal;

/** Revokes for good; revoking again is no error, and tells NATS again. @param actor "operator:NAME" */
export async function revokeNode(
  dependencies: RevocationDependencies,
  nodeIdOrName: string,
  actor: string,
  reason: string,
): Promise<Revocation> {
  const { store, clock, random, log } = dependencies;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const entry = await findNode(store, nodeIdOrName);
    if (entry === undefined) return refuse("UnknownNode", `there is no node ${JSON.stringify(nodeIdOrName)}; see: drover get nodes`);
    const known = readJson(entry) as NodeRecord;
    const nowMs = clock.now();
    const record: NodeRecord = known.revokedAtMs === undefined ? { ...known, revokedAtMs: nowMs, revokedReason: reason } : known;
    if (record !== known) {
      const audit = { atMs: nowMs, actor, action: "RevokeNode", target: `Node/${record.name}`, outcome: "ok", message: reason } as const;
      const committed = await store.commit([putJson(entry.key, record, entry.revision), auditOperation(audit, random)]);
      if (!committed.ok) continue;
      log.info({ node: record.nodeId, actor }, "node revoked");
    }
    return { ok: true, nodeId: record.nodeId, isCutFromNats: await cutFromNats(dependencies, record) };
  }
  return refuse("Conflict", "the node's record keeps changing; try again");
}

/**
 * Tells NATS of every revoked node whose user JWT still lives: at start, because the bus may have missed it or lost all it knew;
 * then of each that is revoked. Until the signal aborts.
 */
export async function keepRevoked(dependencies: RevocationDependencies, signal: AbortSignal): Promise<void> {
  const { store, clock, random } = dependencies;
  const told = new Set<string>();
  const backoff = exponentialBackoff(random, { baseMs: 1000, maxMs: 60_000 });
  while (!signal.aborted) {
    const { records, revision } = await revokedRecords(store);
    const untold = records.filter((record) => liveNatsKeys(record, clock.now()).length > 0 && !told.has(record.nodeId));
    for (const record of untold) {
      if (await cutFromNats(dependencies, record)) told.add(record.nodeId);
    }
    if (untold.every(({ nodeId }) => told.has(nodeId))) {
      backoff.reset();
      await nextRevocation(store, revision, told, signal);
    } else {
      await sleep(clock, backoff.nextDelayMs(), signal).catch(() => undefined);
    }
  }
}

/** Read in pages, so that others get their turn between them. @returns revision from which on changes are to be followed */
async function revokedRecords(store: Store): Promise<{ readonly records: readonly NodeRecord[]; readonly revision: number }> {
  const records: NodeRecord[] = [];
  let from = Infinity;
  for (let after: string = keys.nodes; ; ) {
    const { entries, revision } = await store.list(keys.nodes, { after, limit: PAGE });
    from = Math.min(from, revision);
    for (const entry of entries) {
      const record = mayBeRevoked(entry) ? (readJson(entry) as NodeRecord) : undefined;
      if (record?.revokedAtMs !== undefined) records.push(record);
    }
    if (entries.length < PAGE) return { records, revision: from };
    after = entries.at(-1)!.key;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

async function nextRevocation(store: Store, revision: number, told: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
  for await (const batch of store.watch(keys.nodes, revision, signal)) {
    if (batch.type === "compacted") return;
    const records = batch.changes.flatMap(({ entry }) => (entry === undefined ? [] : [readJson(entry) as NodeRecord]));
    if (records.some(({ revokedAtMs, nodeId }) => revokedAtMs !== undefined && !told.has(nodeId))) return;
  }
}

async function findNode(store: Store, nodeIdOrName: string): Promise<StoreEntry | undefined> {
  const byId = isNodeId(nodeIdOrName) ? await store.get(keys.node(nodeIdOrName)) : undefined;
  if (byId !== undefined) return byId;
  const object = await store.get(keys.object("Node", nodeIdOrName));
  const uid = object && (readJson(object) as { metadata: { uid?: string } }).metadata.uid;
  return uid === undefined ? undefined : store.get(keys.node(uid));
}

/** The node's NATS keys whose user JWT has not ended by itself. */
function liveNatsKeys(record: NodeRecord, nowMs: number): readonly string[] {
  const current = { publicKey: record.natsPublicKey, notAfterMs: record.certificateNotAfterMs };
  return [current, ...(record.retiredNatsKeys ?? [])].filter(({ notAfterMs }) => notAfterMs > nowMs).map(({ publicKey }) => publicKey);
}

async function cutFromNats({ bus, clock, log }: RevocationDependencies, record: NodeRecord): Promise<boolean> {
  const nowMs = clock.now();
  try {
    for (const publicKey of liveNatsKeys(record, nowMs)) {
      await withDeadline(clock, "revoking a NATS user", BUS_DEADLINE_MS, undefined, () => bus.revokeUser(publicKey, nowMs));
    }
    return true;
  } catch (error) {
    log.warn({ node: record.nodeId, err: error }, "NATS could not be told of a revocation, trying again");
    return false;
  }
}
