import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { VirtualClock } from "@drover/lifecycle";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { memoryStore } from "./memory-store.ts";
import { openSqliteStore, StoreUnusable } from "./sqlite-store.ts";
import { storeConformance } from "./store-conformance.ts";
import type { WatchBatch } from "./store.ts";

storeConformance("openSqliteStore", async (options) => {
  const directory = await mkdtemp(join(tmpdir(), "drover-store-"));
  const path = join(directory, "store.db");
  let store = openSqliteStore(path, options);
  return {
    store,
    reopen: async () => {
      await store.close();
      store = openSqliteStore(path, options);
      return store;
    },
    remove: async () => {
      await store.close();
      await rm(directory, { recursive: true });
    },
  };
});

describe("openSqliteStore", () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "drover-store-"));
    path = join(directory, "store.db");
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("keeps every commit that was answered before kill -9, and no half of one", async () => {
    const script = `
      import { openSqliteStore } from ${JSON.stringify(new URL("./sqlite-store.ts", import.meta.url).href)};
      const store = openSqliteStore(process.argv[1]);
      const { revision } = await store.list("");
      for (let index = revision + 1; ; index += 1) {
        const value = Buffer.alloc(500, index % 256);
        const operations = ["a", "b", "c"].map((key) => ({ type: "put", key: key + "/" + index, value }));
        const result = await store.commit(operations);
        if (result.ok) process.stdout.write(index + "\\n");
      }`;
    let answered = 0;
    for (let round = 0; round < 5; round += 1) {
      const child = spawn(process.execPath, ["--input-type=module", "-e", script, path], { stdio: ["ignore", "pipe", "inherit"] });
      const exited = once(child, "exit");
      const goal = answered + 20 + round * 7;
      for await (const line of createInterface({ input: child.stdout })) {
        answered = Number(line);
        if (answered === goal) child.kill("SIGKILL");
      }
      await exited;
      expect(answered).toBeGreaterThanOrEqual(goal);
    }
    const store = openSqliteStore(path);
    const { revision } = await store.list("");
    expect(revision).toBeGreaterThanOrEqual(answered);
    for (const prefix of ["a/", "b/", "c/"]) expect((await store.list(prefix)).entries).toHaveLength(revision);
    await store.close();
  });

  it("lets a watch see what another process commits", async () => {
    const clock = new VirtualClock();
    const [ours, theirs] = [openSqliteStore(path, { clock }), openSqliteStore(path)];
    const iterator = ours.watch("operators/", 0, new AbortController().signal)[Symbol.asyncIterator]();
    const next = iterator.next();
    await theirs.commit([{ type: "put", key: "operators/ann", value: Buffer.from("{}"), expectedRevision: 0 }]);
    await clock.advance(1000);
    expect((await next).value).toMatchObject({ revision: 1, changes: [{ key: "operators/ann" }] });
    expect(await ours.commit([{ type: "put", key: "operators/ann", value: Buffer.from("{}"), expectedRevision: 0 }])).toMatchObject({
      ok: false,
    });
    await Promise.all([ours.close(), theirs.close()]);
  });

  it("answers any sequence of commits as memoryStore does, and tells the same history", async () => {
    const key = fc.constantFrom("a", "a/b", "a/c", "b", "b/a");
    const revision = fc.option(fc.nat(12), { nil: undefined });
    const operation = fc.record({ type: fc.constantFrom("put", "delete"), key, revision, text: fc.string({ maxLength: 5 }) });
    const commits = fc.array(fc.uniqueArray(operation, { maxLength: 4, selector: ({ key }) => key }), { maxLength: 25 });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(commits, fc.nat(25), async (sequence, from) => {
        const stores = [
          openSqliteStore(join(directory, `${(round += 1)}.db`), { historyRevisions: 10 }),
          memoryStore({ historyRevisions: 10 }),
        ];
        const told = await Promise.all(
          stores.map(async (store) => {
            const results = [];
            for (const operations of sequence) {
              results.push(
                await store.commit(
                  operations.map(({ type, key, revision, text }) => ({
                    ...(type === "put" ? { type: "put", key, value: Buffer.from(text) } : { type: "delete", key }),
                    ...(revision === undefined ? {} : { expectedRevision: revision }),
                  })),
                ),
              );
            }
            const history: WatchBatch[] = [];
            const controller = new AbortController();
            // A last commit, so that the watch has an end.
            const last = await store.commit([{ type: "put", key: "a/end", value: Buffer.of() }]);
            const end = last.ok ? last.revision : 0;
            for await (const batch of store.watch("a", Math.min(from, end - 1), controller.signal)) {
              history.push(batch);
              if (batch.type === "changes" && batch.revision === end) controller.abort();
            }
            const listed = await store.list("");
            await store.close();
            return { results, history, listed };
          }),
        );
        expect(told[0]).toEqual(told[1]);
      }),
      { numRuns: 40 },
    );
  });

  it("is for its owner's eyes only", async () => {
    const store = openSqliteStore(path);
    await store.commit([{ type: "put", key: "a", value: Buffer.from("1") }]);
    for (const file of [path, `${path}-wal`]) expect((await stat(file)).mode & 0o777).toBe(0o600);
    await store.close();
  });

  it("refuses a file that is no store, a damaged one and one of a newer coordinator, and says what to do", async () => {
    await writeFile(path, "this is no database at all, but it is long enough to be looked at as if it were one".repeat(20));
    expect(() => openSqliteStore(path)).toThrow(StoreUnusable);
    const newer = join(directory, "newer.db");
    const database = new DatabaseSync(newer);
    database.exec("PRAGMA user_version = 99");
    database.close();
    expect(() => openSqliteStore(newer)).toThrow("use the newer coordinator");
    const damaged = join(directory, "damaged.db");
    const store = openSqliteStore(damaged);
    for (let index = 0; index < 100; index += 1) await store.commit([{ type: "put", key: `k${index}`, value: Buffer.alloc(4000) }]);
    await store.close();
    await truncate(damaged, 100_000);
    expect(() => openSqliteStore(damaged)).toThrow("restore it from a backup");
    // Too large to be looked through at each start: found when it is read, or when somebody asks for it.
    const large = join(directory, "large.db");
    const filled = openSqliteStore(large);
    for (let commit = 0; commit < 30; commit += 1) {
      const names = Array.from({ length: 90 }, (_, index) => `k${commit}/${index}`);
      await filled.commit(names.map((key) => ({ type: "put", key, value: Buffer.alloc(4000) })));
    }
    await filled.close();
    const file = await open(large, "r+");
    await file.write(Buffer.alloc(400_000, 0xff), 0, 400_000, 10_000_000);
    await file.close();
    expect(() => openSqliteStore(large, { isLookedThrough: true })).toThrow("restore it from a backup");
    const opened = openSqliteStore(large);
    await expect(opened.list("k")).rejects.toThrow("restore it from a backup");
    await opened.close();
  });
});
