/** The audit log: who did or was refused what. A record is written in the commit of what it tells of. */
import type { Clock, Random } from "@drover/lifecycle";
import { sleep } from "@drover/lifecycle";
import type { AuditEntry } from "../records.ts";
import { keys } from "../store/keys.ts";
import { MAX_OPERATIONS } from "../store/operations.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";

export const DEFAULT_AUDIT_LIMIT = 100;
const MAX_TEXT = 1024;
const PRUNE_INTERVAL_MS = 10 * 60_000;

/** The put of one record, to be committed together with the change it tells of. */
export function auditOperation(entry: AuditEntry, random: Random): StoreOperation {
  const bounded: AuditEntry = {
    atMs: entry.atMs,
    actor: entry.actor.slice(0, MAX_TEXT),
    action: entry.action,
    target: entry.target.slice(0, MAX_TEXT),
    outcome: entry.outcome,
    message: entry.message.slice(0, MAX_TEXT),
  };
  return putJson(keys.audit(entry.atMs, random.bytes(8).toString("hex")), bounded);
}

/** Newest first. @param query.limit 0: 100; @param query.actor empty: everybody's @param query.target empty: of everything */
export async function listAudit(
  store: Store,
  query: { readonly limit: number; readonly actor: string; readonly target?: string },
): Promise<readonly AuditEntry[]> {
  const { entries } = await store.list(keys.audits);
  const found: AuditEntry[] = [];
  const limit = query.limit === 0 ? DEFAULT_AUDIT_LIMIT : query.limit;
  for (let index = entries.length - 1; index >= 0 && found.length < limit; index -= 1) {
    const entry = readJson(entries[index]!) as AuditEntry;
    const isAsked = (query.actor === "" || entry.actor === query.actor) && ((query.target ?? "") === "" || entry.target === query.target);
    if (isAsked) found.push(entry);
  }
  return found;
}

/** Deletes the oldest beyond `keep`; of more than that, refusals are half at the most, because anybody can cause them. */
export async function pruneAudit(store: Store, keep: number): Promise<void> {
  const { entries } = await store.list(keys.audits);
  let excess = entries.length - keep;
  if (excess <= 0) return;
  const refusals = entries.filter((entry) => (readJson(entry) as AuditEntry).outcome === "refused");
  const first = refusals.slice(0, Math.min(excess, Math.max(0, refusals.length - Math.ceil(keep / 2))));
  excess -= first.length;
  const gone = new Set(first);
  const tooOld = [...first, ...entries.filter((entry) => !gone.has(entry)).slice(0, excess)];
  for (let start = 0; start < tooOld.length; start += MAX_OPERATIONS) {
    await store.commit(tooOld.slice(start, start + MAX_OPERATIONS).map(({ key }) => ({ type: "delete", key })));
  }
}

/** Prunes now and every ten minutes, until the signal aborts. */
export async function keepAuditBounded(
  { store, clock, keep }: { readonly store: Store; readonly clock: Clock; readonly keep: number },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await pruneAudit(store, keep);
    await sleep(clock, PRUNE_INTERVAL_MS, signal).catch(() => undefined);
  }
}
