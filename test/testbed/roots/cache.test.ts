import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { eventually } from "../program.ts";
import { cached, digestOf } from "./cache.ts";

let cache: string;
beforeEach(async () => {
  cache = await mkdtemp("/var/tmp/drover-cache-test-");
  vi.stubEnv("DROVER_CACHE", cache);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(cache, { recursive: true, force: true });
});

it("builds once for all who ask at the same time, and nobody sees a half", async () => {
  let builds = 0;
  const build = async (directory: string): Promise<void> => {
    builds += 1;
    await writeFile(join(directory, "first"), "1");
    expect(await readdir(cache)).not.toContain("thing-1");
    await writeFile(join(directory, "second"), "2");
  };
  const directories = await Promise.all([cached("thing-1", build), cached("thing-1", build), cached("thing-1", build)]);
  expect(new Set(directories)).toEqual(new Set([join(cache, "thing-1")]));
  expect(builds).toBe(1);
  expect((await readdir(join(cache, "thing-1"))).toSorted()).toEqual(["first", "second"]);
});

it("leaves nothing of a build that failed, and the next one may succeed", async () => {
  await expect(cached("thing-2", () => Promise.reject(new Error("no room")))).rejects.toThrow("no room");
  expect(await readdir(cache)).toEqual(["thing-2.lock"]);
  await cached("thing-2", (directory) => writeFile(join(directory, "file"), "whole"));
  expect(await readFile(join(cache, "thing-2/file"), "utf8")).toBe("whole");
});

it("lets go of the lock when a builder is killed with SIGKILL, and takes its half away", async () => {
  const module = fileURLToPath(new URL("./cache.ts", import.meta.url));
  const script = `import { cached } from ${JSON.stringify(module)}; await cached("thing-3", () => new Promise(() => setInterval(() => {}, 1000)));`;
  const builder = spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: "inherit" });
  await eventually("it builds", 60_000, async () => (await readdir(cache)).some((name) => name.startsWith("thing-3.half-")));
  builder.kill("SIGKILL");
  await once(builder, "exit");
  await cached("thing-3", (directory) => writeFile(join(directory, "file"), "whole"));
  expect((await readdir(cache)).toSorted()).toEqual(["thing-3", "thing-3.lock"]);
});

it("tells recipes apart by where one part ends and the next begins", () => {
  expect(digestOf(["ab", "c"])).not.toBe(digestOf(["a", "bc"]));
});
