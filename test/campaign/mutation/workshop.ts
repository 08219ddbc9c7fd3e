/** A copy of the coordinator's sources and of what it imports of ours, outside the checkout: a fault is planted and the tests are run there. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const checkout = fileURLToPath(new URL("../../..", import.meta.url));
const TEST_DEADLINE_MS = 120_000;
const COPIED = ["coordinator", "api", "lifecycle", "proto"];
/** Folders that are no packages. */
const ALSO_COPIED = ["test/simulation"];

/** Fewer runs per property than in the checkout: a fault must show soon. */
const PROPERTY_RUNS = "60";

const CONFIG = `export default {
  cacheDir: "./.vite",
  test: { include: ["coordinator/src/**/*.test.ts"], pool: "threads", isolate: false, testTimeout: 60_000, maxWorkers: 1 },
};
`;

export interface Workshop {
  readonly top: string;
  /**
   * Puts the text in the file's place, runs the tests, and puts the file back.
   * @param stages filters of test files; those of a later stage run when all of the earlier have passed
   * @returns whether all passed, and what was said
   */
  tryWith(file: string, text: string, stages: readonly (readonly string[])[]): Promise<{ readonly passed: boolean; readonly said: string }>;
  /** Puts the text in the file's place while that works. */
  during<T>(file: string, text: string, work: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/**
 * @param from copied; the checkout is read once, for all others are copies of the first: what changes in it meanwhile is not judged
 * @param hasSimulation with the agent and the simulation besides
 */
export async function openWorkshop(from: string = checkout, hasSimulation = false): Promise<Workshop> {
  const top = await mkdtemp(join(tmpdir(), "drover-mutation-"));
  const modules = join(top, "node_modules");
  await mkdir(join(modules, "@drover"), { recursive: true });
  const copy = (part: string): Promise<void> =>
    cp(join(from, part), join(top, part), { recursive: true, filter: (path) => !path.slice(from.length).includes("/node_modules") });
  for (const part of hasSimulation ? [...COPIED, "agent"] : COPIED) {
    await copy(part);
    await symlink(join("../..", part), join(modules, "@drover", part));
  }
  for (const part of hasSimulation ? ALSO_COPIED : []) await copy(part);
  await cp(join(from, "package.json"), join(top, "package.json"));
  for (const name of await readdir(join(checkout, "node_modules"))) {
    if (name !== "@drover" && !name.startsWith(".")) await symlink(join(checkout, "node_modules", name), join(modules, name));
  }
  await writeFile(join(top, "vitest.config.mjs"), CONFIG);
  const during = async <T>(file: string, text: string, work: () => Promise<T>): Promise<T> => {
    const original = await readFile(join(top, file));
    await writeFile(join(top, file), text);
    try {
      return await work();
    } finally {
      await writeFile(join(top, file), original);
    }
  };
  return {
    top,
    during,
    tryWith: (file, text, stages) =>
      during(file, text, async () => {
        let result = { passed: true, said: "" };
        for (const tests of stages) if (result.passed) result = await runTests(top, tests);
        return result;
      }),
    close: () => rm(top, { recursive: true, force: true }),
  };
}

async function runTests(top: string, tests: readonly string[]): Promise<{ readonly passed: boolean; readonly said: string }> {
  const vitest = join(checkout, "node_modules/vitest/vitest.mjs");
  const environment = { ...process.env, CI: "true", NO_COLOR: "1", DROVER_PROPERTY_RUNS: PROPERTY_RUNS, FORCE_COLOR: "0" };
  return await new Promise((resolve) => {
    execFile(
      process.execPath,
      [vitest, "run", "--root", top, "--bail", "1", "--reporter", "dot", ...tests],
      { cwd: top, env: environment, timeout: TEST_DEADLINE_MS, killSignal: "SIGKILL", maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => resolve({ passed: error === null, said: `${stdout}\n${stderr}` }),
    );
  });
}
