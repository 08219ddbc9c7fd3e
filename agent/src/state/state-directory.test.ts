import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StateDirectory } from "../ports.ts";
import { FileStateDirectory, MemoryStateDirectory } from "./index.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-state-"));
});
afterEach(() => rm(directory, { recursive: true }));

const memory = new WeakMap<object, MemoryStateDirectory>();
const adapters: Record<string, (key: object) => Promise<StateDirectory>> = {
  files: () => FileStateDirectory.open(join(directory, "state"), { segmentBytes: 200 }),
  memory: async (key) => {
    if (!memory.has(key)) memory.set(key, new MemoryStateDirectory());
    return memory.get(key)!;
  },
};

describe.each(Object.entries(adapters))("a StateDirectory of %s", (_name, openWith) => {
  it("gives back what was written, also to the next life, and undefined for what is absent", async () => {
    const key = {};
    const state = await openWith(key);
    expect(await state.readFile("a")).toBeUndefined();
    await state.writeFile("a", Buffer.from("1"));
    await state.writeFile("a", Buffer.from("22"));
    expect((await (await openWith(key)).readFile("a"))?.toString()).toBe("22");
    await state.removeFile("a");
    await state.removeFile("a");
    expect(await state.readFile("a")).toBeUndefined();
  });

  it("keeps appended records in order with sequences from 1, over reopening", async () => {
    const key = {};
    const log = await (await openWith(key)).openLog("journal");
    const sequences = await Promise.all(Array.from({ length: 50 }, (_, index) => log.append(Buffer.from(`record ${index}`))));
    expect(sequences).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
    await log.close();
    const again = await (await openWith(key)).openLog("journal");
    expect(again.records.map((record) => record.payload.toString())).toEqual(Array.from({ length: 50 }, (_, index) => `record ${index}`));
    expect(again.nextSequence).toBe(51);
    expect(again.sizeBytes).toBe(again.records.reduce((sum, record) => sum + 24 + record.payload.length, 0));
    await again.close();
  });

  it("forgets what is trimmed and never uses a sequence again", async () => {
    const key = {};
    const log = await (await openWith(key)).openLog("outbox");
    for (let index = 0; index < 40; index += 1) await log.append(Buffer.alloc(30));
    await log.trimThrough(25);
    expect(log.records[0]?.sequence).toBe(26);
    await log.trimThrough(40);
    expect([log.records.length, log.sizeBytes]).toEqual([0, 0]);
    await log.close();
    const again = await (await openWith(key)).openLog("outbox");
    expect(await again.append(Buffer.from("x"))).toBe(41);
    await again.close();
  });

  it("removes a log with all its records", async () => {
    const key = {};
    const state = await openWith(key);
    const log = await state.openLog("old");
    await log.append(Buffer.from("x"));
    await log.close();
    await state.removeLog("old");
    await state.removeLog("old");
    const again = await state.openLog("old");
    expect(again.records).toEqual([]);
    await again.close();
  });
});

describe("a StateDirectory of files", () => {
  it("keeps directory and files to root alone", async () => {
    const state = await FileStateDirectory.open(join(directory, "state"));
    await state.writeFile("a", Buffer.from("1"));
    expect((await stat(join(directory, "state"))).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, "state", "a"))).mode & 0o777).toBe(0o600);
  });

  it("takes no name that leads elsewhere", async () => {
    const state = await FileStateDirectory.open(join(directory, "state"));
    for (const name of ["../a", "/etc/passwd", "", ".hidden", "a/b", "a\0"]) {
      await expect(state.readFile(name)).rejects.toThrow(RangeError);
    }
  });
});

describe("a StateDirectory in memory", () => {
  it("loses in a crash only what was not yet durable, and the dead life changes nothing more", async () => {
    const state = new MemoryStateDirectory();
    const life = state.session();
    const log = await life.openLog("journal");
    await log.append(Buffer.from("kept"));
    const underWay = log.append(Buffer.from("lost"));
    state.crash();
    await expect(underWay).rejects.toThrow("ended");
    await expect(life.writeFile("a", Buffer.from("1"))).rejects.toThrow("ended");
    await expect(log.append(Buffer.from("late"))).rejects.toThrow("ended");
    expect((await state.openLog("journal")).records.map((record) => record.payload.toString())).toEqual(["kept"]);
  });
});
