import { seededRandom, VirtualClock } from "@drover/lifecycle";
import { describe, expect, it } from "vitest";
import type { AuditEntry } from "../records.ts";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import { auditOperation, keepAuditBounded, listAudit, pruneAudit } from "./audit.ts";

const random = seededRandom(1);
const entry = (atMs: number, actor = "operator:ann"): AuditEntry => ({
  atMs,
  actor,
  action: "ApplyObject",
  target: "NodeProfile/web",
  outcome: "ok",
  message: String(atMs),
});

describe("audit", () => {
  it("lists newest first, by actor, up to a limit, two in the same millisecond both", async () => {
    const store = memoryStore();
    for (const record of [entry(9), entry(10), entry(10), entry(1000, "node:abcdefghij")])
      await store.commit([auditOperation(record, random)]);
    expect((await listAudit(store, { limit: 0, actor: "" })).map(({ atMs }) => atMs)).toEqual([1000, 10, 10, 9]);
    expect(await listAudit(store, { limit: 2, actor: "operator:ann" })).toEqual([entry(10), entry(10)]);
  });

  it("is refused together with the change it tells of", async () => {
    const store = memoryStore();
    const change = { type: "put", key: "a", value: Buffer.from("1"), expectedRevision: 5 } as const;
    expect(await store.commit([change, auditOperation(entry(1), random)])).toMatchObject({ ok: false });
    expect(await listAudit(store, { limit: 0, actor: "" })).toEqual([]);
  });

  it("bounds what a caller can make it store", async () => {
    const store = memoryStore();
    await store.commit([auditOperation({ ...entry(1), message: "x".repeat(100_000) }, random)]);
    expect((await listAudit(store, { limit: 0, actor: "" }))[0]!.message).toHaveLength(1024);
  });

  it("keeps what was done although strangers had a thousand things refused since", async () => {
    const store = memoryStore();
    for (let atMs = 1; atMs <= 20; atMs += 1) await store.commit([auditOperation(entry(atMs), random)]);
    for (let atMs = 100; atMs < 1100; atMs += 1) {
      await store.commit([auditOperation({ ...entry(atMs, "address:10.0.0.9"), outcome: "refused" }, random)]);
    }
    await pruneAudit(store, 40);
    const kept = await listAudit(store, { limit: 1000, actor: "" });
    expect(kept.filter(({ outcome }) => outcome === "ok")).toHaveLength(20);
    expect(kept.filter(({ outcome }) => outcome === "refused").map(({ atMs }) => atMs)).toEqual(
      Array.from({ length: 20 }, (_, index) => 1099 - index),
    );
  });

  it("forgets the oldest beyond its size, once and again as time passes", async () => {
    const store = memoryStore();
    const clock = new VirtualClock();
    for (let atMs = 1; atMs <= 250; atMs += 1) await store.commit([auditOperation(entry(atMs), random)]);
    await pruneAudit(store, 30);
    expect((await listAudit(store, { limit: 1000, actor: "" })).map(({ atMs }) => atMs).at(-1)).toBe(221);
    const controller = new AbortController();
    const running = keepAuditBounded({ store, clock, keep: 10 }, controller.signal);
    await clock.advance(0);
    for (let atMs = 300; atMs < 350; atMs += 1) await store.commit([auditOperation(entry(atMs), random)]);
    await clock.advance(11 * 60_000);
    expect((await store.list(keys.audits)).entries).toHaveLength(10);
    controller.abort();
    await running;
  });
});
