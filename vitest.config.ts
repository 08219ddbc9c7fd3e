import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{proto,lifecycle,api,agent,coordinator,cli,images,sim,test}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: "forks",
    // Many tests wait for real processes rather than compute: a machine of two cores has room for more than the one worker that vitest would start there.
    maxWorkers: Math.max(3, availableParallelism() - 1),
  },
});
