/** A copy of the coordinator's sources outside the checkout, where a fault is planted and the tests are run; the checkout is only read. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const checkout = fileURLToPath(new URL("../../..", import.meta.url));
const TEST_DEADLINE_MS = 120_000;

/** Fewer runs per property than in the checkout: a fault must show soon. */
const PROPERTY_RUNS = "60";

const CONFIG = `export default {
  cacheDir: "./.vite",
  test: { include: ["coordinator/src/**/*.test.ts"], pool: "threads", isolate: false, testTimeout: 20_000, maxWorkers: 1 },
};
`;

export interface Workshop {
  /** Puts the text in the file's place, runs the tests, and puts the file back. @returns whether all passed, and what was said */
  tryWith(file: string, text: string, tests: readonly string[]): Promise<{ readonly passed: boolean; readonly said: string }>;
  close(): Promise<void>;
}

export async function openWorkshop(): Promise<Workshop> {
  const top = await mkdtemp(join(tmpdir(), "drover-mutation-"));
  await mkdir(join(top, "coordinator"));
  await cp(join(checkout, "coordinator/src"), join(top, "coordinator/src"), { recursive: true });
  await cp(join(checkout, "coordinator/package.json"), join(top, "coordinator/package.json"));
  await cp(join(checkout, "package.json"), join(top, "package.json"));
  await symlink(join(checkout, "node_modules"), join(top, "node_modules"));
  await writeFile(join(top, "vitest.config.mjs"), CONFIG);
  return {
    tryWith: async (file, text, tests) => {
      const original = await readFile(join(top, file));
      await writeFile(join(top, file), text);
      try {
        return await runTests(top, tests);
      } finally {
        await writeFile(join(top, file), original);
      }
    },
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
