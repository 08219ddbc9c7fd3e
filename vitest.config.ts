import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{proto,lifecycle,api,agent,coordinator,cli,images,sim,test}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: "forks",
  },
});
