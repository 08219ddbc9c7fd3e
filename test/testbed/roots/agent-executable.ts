/** dist/drover-agent as it ships, built once per state of its sources. */
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { cacheDirectory, cached, digestOf } from "./cache.ts";

const top = fileURLToPath(new URL("../../..", import.meta.url));
const SOURCES = ["agent/src", "agent/build", "api/src", "lifecycle/src", "proto/src", "proto/gen"];
const PROGRAM = "drover-agent";
const KEPT = 4;
const BUILD_TIMEOUT_MS = 300_000;

/** @returns path of a single executable that is never changed afterwards */
export async function agentExecutable(): Promise<string> {
  const name = `agent-${await digestOfSources()}`;
  const directory = await cached(name, async (half) => {
    // Other states' builds write the same dist: one at a time.
    const lockFile = join(cacheDirectory(), "agent-build.lock");
    const script = '"$1" "$2" >&2; cp "$3" "$4"';
    const words = [join(top, "node_modules/.bin/node"), join(top, "agent/build/build-agent.ts"), join(top, "dist", PROGRAM), half];
    await execa("flock", [lockFile, "sh", "-ec", script, "sh", ...words], { timeout: BUILD_TIMEOUT_MS });
  });
  await removeOld(name);
  return join(directory, PROGRAM);
}

async function digestOfSources(): Promise<string> {
  const files = [join(top, "package-lock.json")];
  for (const folder of SOURCES) {
    for (const entry of await readdir(join(top, folder), { recursive: true, withFileTypes: true })) {
      if (entry.isFile() && !entry.name.endsWith(".test.ts")) files.push(join(entry.parentPath, entry.name));
    }
  }
  return digestOf(await Promise.all(files.toSorted().map(async (file) => `${file}\n${await readFile(file, "utf8")}`)));
}

/** 110 MB each. Whoever is copying one of the newest is not disturbed. */
async function removeOld(current: string): Promise<void> {
  const names = (await readdir(cacheDirectory())).filter((name) => /^agent-[0-9a-f]{16}$/.test(name) && name !== current);
  const aged = await Promise.all(names.map(async (name) => ({ name, mtimeMs: (await stat(join(cacheDirectory(), name))).mtimeMs })));
  for (const { name } of aged.toSorted((a, b) => b.mtimeMs - a.mtimeMs).slice(KEPT)) {
    await rm(join(cacheDirectory(), name), { recursive: true, force: true });
    await rm(join(cacheDirectory(), `${name}.lock`), { force: true });
  }
}
