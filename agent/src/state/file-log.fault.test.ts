import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { seededRandom } from "@drover/lifecycle";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FileLog } from "./file-log.ts";
import { DamagedLog } from "./state-errors.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-log-"));
});
afterEach(() => rm(directory, { recursive: true }));

const payloads = Array.from({ length: 12 }, (_, index) => `record ${index} ${"x".repeat(index * 3)}`);

async function writeLog(path: string): Promise<string> {
  const log = await FileLog.open(path, "log");
  for (const payload of payloads) await log.append(Buffer.from(payload));
  await log.close();
  return join(path, (await readdir(path))[0]!);
}

async function readLog(path: string): Promise<string[]> {
  const log = await FileLog.open(path, "log");
  try {
    return log.records.map((record) => record.payload.toString());
  } finally {
    await log.close();
  }
}

describe("a log file that was cut or damaged", () => {
  it("truncated at every byte gives a prefix of its records, and takes new ones after it", async () => {
    const file = await writeLog(directory);
    const whole = await readFile(file);
    for (let length = whole.length; length >= 0; length -= 1) {
      await truncate(file, length);
      const found = await readLog(directory);
      expect(found).toEqual(payloads.slice(0, found.length));
      // Opening cuts the torn rest: what is whole stays.
      expect((await readFile(file)).length).toBeLessThanOrEqual(length);
      if (length % 97 === 0) {
        const log = await FileLog.open(directory, "log");
        expect(await log.append(Buffer.from("new"))).toBe(found.length + 1);
        await log.close();
        expect(await readLog(directory)).toEqual([...found, "new"]);
      }
      await writeFile(file, whole.subarray(0, length));
    }
  });

  it("with any one bit flipped either names file and offset, or has lost its last record only", async () => {
    const file = await writeLog(directory);
    const whole = await readFile(file);
    const lastRecordAt = whole.length - 24 - payloads.at(-1)!.length;
    for (let bit = 0; bit < whole.length * 8; bit += 5) {
      const flipped = Buffer.from(whole);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await writeFile(file, flipped);
      if (bit >> 3 >= lastRecordAt) {
        expect(await readLog(directory)).toEqual(payloads.slice(0, -1));
      } else {
        const error: unknown = await readLog(directory).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(DamagedLog);
        expect((error as DamagedLog).file).toBe(file);
        expect((error as DamagedLog).offset).toBeLessThanOrEqual(bit >> 3);
        expect(await readFile(file)).toEqual(flipped);
      }
    }
  });

  it("without one of its segments says which record is missing", async () => {
    const log = await FileLog.open(directory, "log", 100);
    for (const payload of payloads) await log.append(Buffer.from(payload));
    await log.close();
    const files = (await readdir(directory)).sort();
    expect(files.length).toBeGreaterThan(3);
    await cp(join(directory, files[1]!), join(directory, "aside"));
    await rm(join(directory, files[1]!));
    await expect(readLog(directory)).rejects.toThrow(/is damaged at byte 0: record \d+ is missing/);
  });
});

const WRITER = `
import { FileLog } from ${JSON.stringify(join(import.meta.dirname, "file-log.ts"))};
const log = await FileLog.open(process.argv[1], "log", 4096);
for (const record of log.records) record.payload;
for (;;) {
  const group = Array.from({ length: 1 + Math.floor(Math.random() * 5) }, () => log.append(Buffer.alloc(Math.floor(Math.random() * 300), log.nextSequence & 255)));
  for (const each of group) process.stdout.write((await each) + "\\n");
}
`;

describe("a writer killed at random moments", () => {
  it("has on disk everything whose append resolved", async () => {
    const random = seededRandom(20260101);
    let lastResolved = 0;
    for (let life = 0; life < 8; life += 1) {
      const child = spawn(process.execPath, ["--input-type=module", "--eval", WRITER, directory], { stdio: ["ignore", "pipe", "inherit"] });
      const ended = once(child, "exit");
      const killAfter = 1 + Math.floor(random.unit() * 200);
      let seen = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        if (/^\d+$/.test(line)) lastResolved = Math.max(lastResolved, Number(line));
        seen += 1;
        if (seen === killAfter) child.kill("SIGKILL");
      }
      await ended;
      const log = await FileLog.open(directory, "log", 4096);
      expect(log.nextSequence).toBeGreaterThan(lastResolved);
      expect(log.records.map((record) => record.sequence)).toEqual(Array.from({ length: log.records.length }, (_, index) => index + 1));
      for (const record of log.records) expect(record.payload.every((byte) => byte === record.payload[0])).toBe(true);
      await log.close();
    }
    expect(lastResolved).toBeGreaterThan(100);
  });
});
