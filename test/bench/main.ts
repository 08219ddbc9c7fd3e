/** `npm run bench -- SCENARIO [--json FILE] [--minutes N] [--case NAME]... [--agents N]`: measures, prints the conditions, compares with the limits. */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { scenarios } from "./index.ts";
import type { ScenarioResult } from "./scenario.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "string" },
    minutes: { type: "string", default: "20" },
    case: { type: "string", multiple: true },
    agents: { type: "string" },
    list: { type: "boolean", default: false },
  },
});
if (values.list) {
  for (const scenario of scenarios) console.log(`${scenario.name.padEnd(12)} ${scenario.summary}`);
  process.exit(0);
}
const scenario = scenarios.find(({ name }) => name === positionals[0]);
const minutes = Number(values.minutes);
const agents = values.agents === undefined ? undefined : Number(values.agents);
if (scenario === undefined || positionals.length !== 1 || !(minutes > 0) || !(agents === undefined || agents > 0)) {
  console.error(
    `bench: usage: npm run bench -- SCENARIO [--json FILE] [--minutes N] [--case NAME]... [--agents N]; scenarios: ${scenarios.map(({ name }) => name).join(", ")}`,
  );
  process.exit(2);
}
const result = await scenario.run({
  minutes,
  say: (line) => console.log(line),
  ...(values.case === undefined ? {} : { cases: values.case }),
  ...(agents === undefined ? {} : { agents }),
});
const complete: ScenarioResult = {
  ...result,
  conditions: {
    ...result.conditions,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    load: loadavg()[0]!.toFixed(2),
    commit: commit(),
  },
};
console.log(`\n${complete.scenario} (${complete.tier})`);
for (const [key, value] of Object.entries(complete.conditions)) console.log(`  ${key.padEnd(22)} ${value}`);
let missed = 0;
for (const { name, value, unit, limit, isFloor } of complete.figures) {
  const isMissed = limit !== undefined && (isFloor === true ? value < limit : value > limit);
  if (isMissed) missed += 1;
  const wanted = limit === undefined ? "" : `  (${isFloor === true ? ">=" : "<="} ${limit})${isMissed ? "  MISSED" : ""}`;
  console.log(`  ${name.padEnd(28)} ${value.toFixed(3).padStart(12)} ${unit}${wanted}`);
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(complete, null, 2)}\n`);
process.exit(missed === 0 ? 0 : 1);

function commit(): string {
  try {
    const head = readFileSync(".git/HEAD", "utf8").trim();
    return head.startsWith("ref: ")
      ? readFileSync(`.git/${head.slice(5)}`, "utf8")
          .trim()
          .slice(0, 12)
      : head.slice(0, 12);
  } catch {
    return "unknown";
  }
}
