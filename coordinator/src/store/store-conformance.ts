/** What every Store must do; run on each adapter. */
import { afterEach, describe, expect, it } from "vitest";
import type { Store, StoreOperation, WatchBatch } from "./store.ts";

export interface StoreUnderTest {
  readonly store: Store;
  /** Closes and opens again what is kept; undefined: this store keeps nothing. */
  readonly reopen?: () => Promise<Store>;
  readonly remove: () => Promise<void>;
}

const put = (key: string, text: string, expectedRevision?: number): StoreOperation => ({
  type: "put",
  key,
  value: Buffer.from(text),
  ...(expectedRevision === undefined ? {} : { expectedRevision }),
});
const textOf = async (store: Store, key: string): Promise<string | undefined> => {
  const entry = await store.get(key);
  return entry === undefined ? undefined : Buffer.from(entry.value).toString();
};

/** @param make a store that forgets history beyond about historyRevisions */
export function storeConformance(name: string, make: (options: { historyRevisions: number }) => Promise<StoreUnderTest>): void {
  describe(`${name} is a Store`, () => {
    const made: StoreUnderTest[] = [];
    const controllers: AbortController[] = [];
    const open = async (historyRevisions = 1000): Promise<StoreUnderTest> => {
      const underTest = await make({ historyRevisions });
      made.push(underTest);
      return underTest;
    };
    const watch = (store: Store, prefix: string, from: number): { next(): Promise<WatchBatch | undefined>; abort(): void } => {
      const controller = new AbortController();
      controllers.push(controller);
      const iterator = store.watch(prefix, from, controller.signal)[Symbol.asyncIterator]();
      return {
        next: async () => {
          const { done, value } = await iterator.next();
          return done === true ? undefined : value;
        },
        abort: () => controller.abort(),
      };
    };
    afterEach(async () => {
      for (const controller of controllers.splice(0)) controller.abort();
      for (const { remove } of made.splice(0)) await remove();
    });

    it("gives back what was put, an empty value too, and nothing for what was not", async () => {
      const { store } = await open();
      expect(await store.commit([put("a", "1"), put("empty", "")])).toEqual({ ok: true, revision: 1 });
      expect(await textOf(store, "a")).toBe("1");
      expect(await textOf(store, "empty")).toBe("");
      expect(await store.get("b")).toBeUndefined();
      expect((await store.get("a"))?.revision).toBe(1);
    });

    it("keeps its own copy of a value", async () => {
      const { store } = await open();
      const value = Buffer.from("before");
      await store.commit([{ type: "put", key: "a", value }]);
      value.fill("x");
      expect(await textOf(store, "a")).toBe("before");
    });

    it("commits all or nothing", async () => {
      const { store } = await open();
      await store.commit([put("a", "1")]);
      expect(await store.commit([put("b", "2"), { type: "delete", key: "a" }, put("c", "3", 7)])).toEqual({
        ok: false,
        conflict: { key: "c", actualRevision: 0 },
      });
      expect([await textOf(store, "a"), await textOf(store, "b"), await textOf(store, "c")]).toEqual(["1", undefined, undefined]);
      expect((await store.list("")).revision).toBe(1);
    });

    it("compares expected revisions, with 0 for what must not exist", async () => {
      const { store } = await open();
      expect(await store.commit([put("a", "1", 0)])).toEqual({ ok: true, revision: 1 });
      expect(await store.commit([put("a", "2", 0)])).toEqual({ ok: false, conflict: { key: "a", actualRevision: 1 } });
      expect(await store.commit([put("a", "2", 1)])).toEqual({ ok: true, revision: 2 });
      expect(await store.commit([{ type: "delete", key: "a", expectedRevision: 1 }])).toMatchObject({ ok: false });
      expect(await store.commit([{ type: "delete", key: "a", expectedRevision: 2 }])).toEqual({ ok: true, revision: 3 });
      expect(await store.commit([put("a", "3", 0)])).toEqual({ ok: true, revision: 4 });
    });

    it("changes nothing when nothing is to be deleted", async () => {
      const { store } = await open();
      await store.commit([put("a", "1")]);
      expect(await store.commit([{ type: "delete", key: "b" }])).toEqual({ ok: true, revision: 1 });
      expect(await store.commit([])).toEqual({ ok: true, revision: 1 });
    });

    it("takes 500 operations, and no 501, no key twice, no unfit key", async () => {
      const { store } = await open();
      const many = Array.from({ length: 501 }, (_, index) => put(`k${index}`, "x"));
      await expect(store.commit(many)).rejects.toThrow(RangeError);
      await expect(store.commit([put("a", "1"), put("a", "2")])).rejects.toThrow(RangeError);
      for (const key of ["", "a b", "ä", "a\0", "x".repeat(513)]) await expect(store.commit([put(key, "1")])).rejects.toThrow(RangeError);
      expect(await store.commit(many.slice(1))).toEqual({ ok: true, revision: 1 });
    });

    it("lists a prefix in order of keys, and only that", async () => {
      const { store } = await open();
      for (const key of ["n/b", "n/a", "n/B", "n/a/x", "m/a", "n~", "n0", "n"]) await store.commit([put(key, key)]);
      const listed = await store.list("n/");
      expect(listed.entries.map(({ key }) => key)).toEqual(["n/B", "n/a", "n/a/x", "n/b"]);
      expect(listed.revision).toBe(8);
      expect((await store.list("")).entries).toHaveLength(8);
    });

    it("lists a prefix in pages, each behind the last key of the one before", async () => {
      const { store } = await open();
      for (const key of ["m/z", "n/a", "n/b", "n/b/c", "n/d", "o/a"]) await store.commit([put(key, key)]);
      const keysAfter = async (after: string): Promise<string[]> =>
        (await store.list("n/", { after, limit: 2 })).entries.map(({ key }) => key);
      expect(await keysAfter("n/")).toEqual(["n/a", "n/b"]);
      expect(await keysAfter("n/b")).toEqual(["n/b/c", "n/d"]);
      expect(await keysAfter("n/d")).toEqual([]);
    });

    it("watches from a revision, one batch per commit, then live", async () => {
      const { store } = await open();
      await store.commit([put("n/a", "1")]);
      await store.commit([put("n/a", "2"), put("m/x", "-"), put("n/b", "2")]);
      await store.commit([put("m/y", "-")]);
      await store.commit([{ type: "delete", key: "n/a" }]);
      const watching = watch(store, "n/", 1);
      expect(await watching.next()).toMatchObject({
        type: "changes",
        revision: 2,
        changes: [
          { key: "n/a", entry: { value: Buffer.from("2"), revision: 2 } },
          { key: "n/b", entry: { revision: 2 } },
        ],
      });
      expect(await watching.next()).toEqual({ type: "changes", revision: 4, changes: [{ key: "n/a", entry: undefined }] });
      const live = watching.next();
      await store.commit([put("m/z", "-")]);
      await store.commit([put("n/c", "6")]);
      expect(await live).toMatchObject({ revision: 6, changes: [{ key: "n/c" }] });
    });

    it("says compacted when the past is forgotten, and when the position is ahead of the store", async () => {
      const { store } = await open(10);
      for (let index = 0; index < 50; index += 1) await store.commit([put(`k${index % 3}`, String(index))]);
      const old = watch(store, "", 5);
      expect([await old.next(), await old.next()]).toEqual([{ type: "compacted" }, undefined]);
      expect(await watch(store, "", 51).next()).toEqual({ type: "compacted" });
      expect(await watch(store, "", 41).next()).toMatchObject({ revision: 42 });
      expect((await store.list("k")).entries).toHaveLength(3);
    });

    it("tells a slow watcher that it lost its place instead of keeping all for it", async () => {
      const { store } = await open(10);
      await store.commit([put("a", "1")]);
      const watching = watch(store, "", 0);
      expect(await watching.next()).toMatchObject({ revision: 1 });
      for (let index = 0; index < 50; index += 1) await store.commit([put("a", String(index))]);
      expect(await watching.next()).toEqual({ type: "compacted" });
    });

    it("gives every watcher every commit in order, whatever the size of the backlog", async () => {
      const { store } = await open(1000);
      for (let index = 1; index <= 60; index += 1) {
        await store.commit(Array.from({ length: 50 }, (_, position) => put(`k/${position}`, String(index))));
      }
      const watching = watch(store, "k/", 0);
      for (let index = 1; index <= 60; index += 1) {
        const batch = await watching.next();
        expect(batch).toMatchObject({ revision: index });
        expect(batch?.type === "changes" && batch.changes.length).toBe(50);
      }
    });

    it("ends a watch when its signal aborts and when the store closes", async () => {
      const { store } = await open();
      const aborted = watch(store, "", 0);
      const waiting = aborted.next();
      aborted.abort();
      expect(await waiting).toBeUndefined();
      const closing = watch(store, "", 0);
      const closed = closing.next();
      await store.close();
      expect(await closed).toBeUndefined();
      await expect(store.get("a")).rejects.toThrow("closed");
    });

    it("lets exactly one of many concurrent commits with one expectation win", async () => {
      const { store } = await open();
      const results = await Promise.all(
        Array.from({ length: 200 }, (_, index) => store.commit([put("a", String(index), 0), put(`b${index}`, "x")])),
      );
      expect(results.filter(({ ok }) => ok)).toHaveLength(1);
      expect((await store.list("b")).entries).toHaveLength(1);
    });

    it("serialises read-modify-write loops without losing one", async () => {
      const { store } = await open();
      const increment = async (): Promise<void> => {
        for (;;) {
          const entry = await store.get("count");
          const count = entry === undefined ? 0 : Number(Buffer.from(entry.value).toString());
          const result = await store.commit([put("count", String(count + 1), entry?.revision ?? 0)]);
          if (result.ok) return;
        }
      };
      await Promise.all(Array.from({ length: 20 }, increment));
      expect(await textOf(store, "count")).toBe("20");
    });

    it("keeps values, revisions and history over a reopen, where it keeps anything", async () => {
      const { store, reopen } = await open();
      if (reopen === undefined) return;
      await store.commit([put("a", "1")]);
      await store.commit([put("b", "2")]);
      const again = await reopen();
      expect(await again.list("")).toMatchObject({
        revision: 2,
        entries: [
          { key: "a", revision: 1 },
          { key: "b", revision: 2 },
        ],
      });
      expect(await watch(again, "", 1).next()).toMatchObject({ revision: 2, changes: [{ key: "b" }] });
      expect(await again.commit([put("c", "3", 0)])).toEqual({ ok: true, revision: 3 });
    });
  });
}
