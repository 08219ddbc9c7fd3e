import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{proto,lifecycle,api,agent,coordinator,cli,images,sim,test}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    // Only against hanging: how long something takes on a busy machine is no test.
    testTimeout: 120_000,
    hookTimeout: 240_000,
    expect: { poll: { timeout: 20_000 } },
    pool: "forks",
    // Many tests wait for real processes rather than compute: a machine of two cores has room for more than the one worker that vitest would start there.
    maxWorkers: Math.max(3, availableParallelism() - 1),
  },
});
