// Checks the checker: every planted violation must be reported, or the import rules no longer bite.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("../..", import.meta.url));
const config = JSON.parse((await import("node:fs")).readFileSync(`${top}/.oxlintrc.json`, "utf8"));
config.ignorePatterns = [];
delete config.$schema;
const { mkdtempSync, writeFileSync, rmSync } = await import("node:fs");
const folder = mkdtempSync(`${top}/test/support/planted/.config-`);
try {
  const configFile = `${folder}/oxlintrc.json`;
  writeFileSync(configFile, JSON.stringify(config));
  const run = spawnSync(`${top}/node_modules/.bin/oxlint`, ["-c", configFile, "--format", "json", "test/support/planted"], {
    cwd: top,
    encoding: "utf8",
  });
  const found = JSON.parse(run.stdout).diagnostics.map((d) => `${d.filename} ${d.code}`);
  const wanted = [
    ["agent/src/steps/sysctl/step.ts", "no-restricted-imports", 3],
    ["agent/src/steps/sysctl/step.ts", "no-restricted-globals", 1],
    ["agent/src/planted.ts", "no-restricted-imports", 1],
    ["coordinator/src/rollout/decide.ts", "no-restricted-imports", 1],
    ["coordinator/src/rollout/decide.ts", "no-restricted-globals", 1],
    ["api/src/planted.ts", "no-restricted-imports", 1],
  ];
  let failed = 0;
  for (const [file, rule, count] of wanted) {
    const hits = found.filter((line) => line.startsWith(`test/support/planted/${file} `) && line.includes(rule)).length;
    if (hits !== count) {
      failed += 1;
      console.error(`import rules: ${file} has ${count} planted violations of ${rule}, ${hits} were reported`);
    }
  }
  if (failed > 0) process.exit(1);
  console.log(`import rules: all ${wanted.length} planted violations are reported`);
} finally {
  rmSync(folder, { recursive: true });
}
