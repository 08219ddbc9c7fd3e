/** One run to look at: `node test/simulation/main.ts --seed S --agents N --scenario calm|stormy|zoned|ailing|"brief stormy"|... [--transcript FILE] [--log]`. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import pino from "pino";
import { silentLog } from "@drover/lifecycle";
import { scenarios } from "./scenario.ts";
import { describeFailure, runSimulation } from "./simulation.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    agents: { type: "string", default: "50" },
    scenario: { type: "string", default: "stormy" },
    transcript: { type: "string" },
    log: { type: "boolean", default: false },
  },
});
const agents = Number(values.agents);
const known = scenarios(agents);
const scenario = known.find(({ name }) => name === values.scenario);
if (scenario === undefined || !Number.isSafeInteger(agents) || agents < 1 || !Number.isSafeInteger(Number(values.seed))) {
  const names = known.map(({ name }) => `'${name}'`).join(", ");
  console.error(`simulation: --seed and --agents take whole numbers, --scenario one of ${names}`);
  process.exit(2);
}
const options = {
  seed: Number(values.seed),
  agents,
  scenario,
  log: values.log ? pino({ level: "warn" }, pino.destination({ dest: 2, sync: true })) : silentLog,
};
const startedAtMs = performance.now();
const result = await runSimulation(options);
const seconds = (performance.now() - startedAtMs) / 1000;
if (values.transcript !== undefined) writeFileSync(values.transcript, result.transcript);
const { virtualMs, observations, faults } = result.stats;
const rate = (agents * virtualMs) / 60_000 / seconds;
console.log(
  `${agents} agents, ${(virtualMs / 60_000).toFixed(1)} virtual minutes, ${faults} faults, ${observations} observations in ${seconds.toFixed(1)} s: ${Math.round(rate)} agent minutes a second`,
);
for (const { invariant, message, atMs } of result.violations) console.log(`${(atMs / 1000).toFixed(3)} s ${invariant}: ${message}`);
if (result.violations.length > 0) console.log(describeFailure(options, result));
process.exit(result.violations.length === 0 ? 0 : 1);
