/**
 * Makes dist/drover-agent: one executable with Node in it. esbuild bundles, Node turns the bundle into a blob with its
 * code cache, postject puts the blob into a copy of Node. The same sources and date give the same bytes.
 */
import { execFile } from "node:child_process";
import { chmod, copyFile, mkdir, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";

const run = promisify(execFile);
const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const dist = join(root, "dist");
const work = join(dist, "agent-build");
const SENTINEL = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

/** Measured on a connected, idle agent. The blob is made with them too: a code cache made under other flags is refused at run time. */
const NODE_FLAGS = ["--max-semi-space-size=1", "--v8-pool-size=0"];

/** Seconds since 1970 in SOURCE_DATE_EPOCH, as reproducible builds have it; else the last commit's. */
async function buildDateMs(): Promise<number> {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined && /^\d+$/.test(given)) return Number(given) * 1000;
  const { stdout } = await run("git", ["log", "-1", "--format=%ct"], { cwd: root });
  return Number(stdout.trim()) * 1000;
}

async function bundle(): Promise<string> {
  const outfile = join(work, "agent.cjs");
  await build({
    entryPoints: [join(root, "agent/src/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "cjs",
    minify: true,
    keepNames: true,
    legalComments: "none",
    logLevel: "warning",
    // Optional native parts that pure JavaScript replaces.
    external: ["bufferutil", "utf-8-validate", "osx-temperature-sensor"],
    define: { DROVER_BUILD_DATE_MS: String(await buildDateMs()), "process.env.NODE_ENV": '"production"' },
  });
  return outfile;
}

async function blob(main: string): Promise<string> {
  const output = join(work, "agent.blob");
  const config = join(work, "sea.json");
  const options = { main, output, disableExperimentalSEAWarning: true, useCodeCache: true, useSnapshot: false, execArgv: NODE_FLAGS };
  await writeFile(config, JSON.stringify(options));
  // Without the seed three builds had three hashes.
  await run(await nodeProgram(), ["--random-seed=1", ...NODE_FLAGS, "--experimental-sea-config", config]);
  return output;
}

async function nodeProgram(): Promise<string> {
  return realpath(join(root, "node_modules/.bin/node"));
}

async function inject(content: string): Promise<string> {
  const target = join(work, "drover-agent");
  await copyFile(await nodeProgram(), target);
  await chmod(target, 0o755);
  // Only symbols; a machine without strip gets a larger file that works alike.
  await run("strip", ["--strip-all", target]).catch(() => undefined);
  const postject = join(root, "node_modules/.bin/postject");
  await run(postject, [target, "NODE_SEA_BLOB", content, "--sentinel-fuse", SENTINEL], { maxBuffer: 16 * 1024 * 1024 });
  return target;
}

await rm(work, { recursive: true, force: true });
await mkdir(work, { recursive: true });
const made = await inject(await blob(await bundle()));
const destination = join(dist, "drover-agent");
await rename(made, destination);
await rm(work, { recursive: true });
const { size } = await stat(destination);
process.stdout.write(`${destination}: ${(size / 2 ** 20).toFixed(1)} MiB\n`);
