/** `npm run e2e [-- NAME... | --short | --list]`: plays scenarios on real machines; without a name all of them. */
import { parseArgs } from "node:util";
import { scenarios } from "./index.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { list: { type: "boolean", default: false }, short: { type: "boolean", default: false } },
});
if (values.list) {
  for (const { name, isShort, summary } of scenarios) console.log(`${name.padEnd(22)} ${isShort ? "short" : "     "}  ${summary}`);
  process.exit(0);
}
const unknown = positionals.filter((name) => !scenarios.some((scenario) => scenario.name === name));
if (unknown.length > 0) {
  console.error(`e2e: no scenario is called '${unknown.join("', '")}'; there are: ${scenarios.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}
if (process.getuid?.() !== 0) {
  console.error("e2e: machines need root; run it as root (sudo npm run e2e)");
  process.exit(1);
}
const chosen = scenarios.filter(({ name, isShort }) => (positionals.length > 0 ? positionals.includes(name) : isShort || !values.short));
let failed = 0;
for (const scenario of chosen) {
  const { name, summary } = scenario;
  const startedAt = performance.now();
  const seconds = (): string => ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`\ne2e ${name}: ${summary}`);
  try {
    await scenario.run((line) => console.log(`  ${seconds().padStart(6)} s  ${line}`));
    console.log(`e2e ${name}: passed in ${seconds()} s`);
  } catch (error) {
    failed += 1;
    console.error(`e2e ${name}: FAILED after ${seconds()} s: ${(error as Error).stack}`);
    for (let cause = (error as Error).cause; cause instanceof Error; cause = cause.cause) console.error(`  because: ${cause.message}`);
    console.error(`again: npm run e2e -- ${name}`);
  }
}
console.log(`\n${chosen.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
