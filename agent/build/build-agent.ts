/**
 * Makes dist/drover-agent: one executable with Node in it. esbuild bundles, Node turns the bundle into a blob with its
 * code cache, postject puts the blob into a copy of Node. The same sources and date give the same bytes.
 */
import { execFile } from "node:child_process";
import { chmod, copyFile, mkdir, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type BuildOptions, build, type Plugin } from "esbuild";

const run = promisify(execFile);
const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const dist = join(root, "dist");
const work = join(dist, "agent-build");
const SENTINEL = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

/**
 * An agent sleeps: memory counts, speed of JavaScript does not. Measured on a connected, idle one: without the optimising
 * compilers 8 MB less of Node's text is touched, and bytecode is let go at the first collection that finds it unused.
 * V8's memory reducer would wake the process each 8 s; heap-collection.ts does its work. A pool of 0 threads would mean
 * one per core. The blob is made with them too: a code cache made under other flags is
 * refused at run time.
 */
const NODE_FLAGS = [
  "--expose-gc",
  "--max-semi-space-size=1",
  "--v8-pool-size=1",
  "--single-threaded-gc",
  "--no-opt",
  "--no-maglev",
  "--no-sparkplug",
  "--bytecode-old-age=1",
  "--no-memory-reducer",
];

/**
 * What few processes need, by how it is imported, and its entry: kept out of the main bundle, whose source is in memory
 * from the start. Each has its own copy of what it imports, so nothing here may share a class or state with the rest.
 */
const COLD: Readonly<Record<string, string>> = {
  "./plan-commands.ts": "./src/cli/plan-commands.ts",
  "@peculiar/x509": "@peculiar/x509",
  "reflect-metadata": "reflect-metadata",
  systeminformation: "systeminformation",
};

/** Seconds since 1970 in SOURCE_DATE_EPOCH, as reproducible builds have it; else the last commit's. */
async function buildDateMs(): Promise<number> {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined && /^\d+$/.test(given)) return Number(given) * 1000;
  const { stdout } = await run("git", ["log", "-1", "--format=%ct"], { cwd: root });
  return Number(stdout.trim()) * 1000;
}

async function bundleOptions(): Promise<BuildOptions> {
  return {
    bundle: true,
    platform: "node",
    target: "node24",
    // Node 24 has it; esbuild's own rendering of `await using` in a loop throws the error of a turn before again.
    supported: { using: true },
    format: "cjs",
    minify: true,
    legalComments: "none",
    logLevel: "warning",
    // Optional native parts that pure JavaScript replaces.
    external: ["bufferutil", "utf-8-validate", "osx-temperature-sensor"],
    define: { DROVER_BUILD_DATE_MS: String(await buildDateMs()), "process.env.NODE_ENV": '"production"' },
  };
}

/** Where such a module is imported dynamically, its own bundle is taken from the executable and run then. */
const coldModules: Plugin = {
  name: "cold-modules",
  setup(bundler) {
    bundler.onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === "dynamic-import" && Object.hasOwn(COLD, path) ? { path, namespace: "cold" } : undefined,
    );
    bundler.onLoad({ filter: /./, namespace: "cold" }, ({ path }) => ({
      contents: `
        const { compileFunction } = require("node:vm");
        const source = require("node:sea").getAsset(${JSON.stringify(path)}, "utf8");
        compileFunction(source, ["module", "exports", "require"], { filename: ${JSON.stringify(path)} })(module, exports, require);`,
    }));
  },
};

interface Bundles {
  readonly main: string;
  /** File by the name that imports it. */
  readonly cold: Readonly<Record<string, string>>;
}

async function bundle(): Promise<Bundles> {
  const options = await bundleOptions();
  const main = join(work, "agent.cjs");
  await build({ ...options, entryPoints: [join(root, "agent/src/main.ts")], outfile: main, plugins: [coldModules] });
  const cold = Object.entries(COLD).map(async ([name, entry]) => {
    const outfile = join(work, `${name.replaceAll(/[^a-z0-9]+/g, "-")}.cjs`);
    await build({ ...options, absWorkingDir: join(root, "agent"), entryPoints: [entry], outfile });
    return [name, outfile] as const;
  });
  return { main, cold: Object.fromEntries(await Promise.all(cold)) };
}

async function blob({ main, cold: assets }: Bundles): Promise<string> {
  const output = join(work, "agent.blob");
  const config = join(work, "sea.json");
  const options = {
    main,
    assets,
    output,
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    useSnapshot: false,
    execArgv: NODE_FLAGS,
  };
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
