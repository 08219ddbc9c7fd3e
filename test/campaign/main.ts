/** `npm run campaign -- NAME [--count N] [--seed S]`; `--list` names them; `--tenth` (for .ci/run) takes a tenth of the count. */
import { parseArgs } from "node:util";
import { campaigns } from "./index.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: "string" },
    seed: { type: "string" },
    list: { type: "boolean", default: false },
    tenth: { type: "boolean", default: false },
  },
});

if (values.list) {
  for (const campaign of campaigns)
    console.log(`${campaign.name.padEnd(28)} ${String(campaign.fullCount).padStart(6)}  ${campaign.summary}`);
  process.exit(0);
}
const campaign = campaigns.find((one) => one.name === positionals[0]);
if (campaign === undefined || positionals.length !== 1) {
  console.error(
    `campaign: ${positionals.length === 0 ? "a name is needed" : `no campaign is called '${positionals.join(" ")}'`}; there are: ${campaigns.map((one) => one.name).join(", ")}`,
  );
  process.exit(2);
}
const count = wholeNumber("count", values.count, values.tenth ? Math.max(1, Math.ceil(campaign.fullCount / 10)) : campaign.fullCount);
const seed = wholeNumber("seed", values.seed, (Date.now() ^ process.pid) >>> 0);
console.log(`campaign ${campaign.name}: ${count} of ${campaign.fullCount} cases, seed ${seed}`);
const startedAt = performance.now();
const { passed, failed } = await campaign.run({ count, seed, say: (line) => console.log(`  ${line}`) });
console.log(
  `campaign ${campaign.name}: ${passed} passed, ${failed} failed in ${((performance.now() - startedAt) / 1000).toFixed(1)} s (seed ${seed})`,
);
if (passed + failed !== count) {
  console.error(`campaign ${campaign.name}: ${count} cases were asked for, ${passed + failed} were run`);
  process.exit(1);
}
if (failed > 0) console.error(`again: npm run campaign -- ${campaign.name} --count ${count} --seed ${seed}`);
process.exit(failed === 0 ? 0 : 1);

function wholeNumber(option: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0 && (option === "seed" || value > 0)) return value;
  console.error(`campaign: --${option} takes a whole number${option === "seed" ? "" : " above 0"}, not '${text}'`);
  process.exit(2);
}
