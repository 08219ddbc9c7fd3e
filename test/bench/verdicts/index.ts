/**
 * No living node is called dead, whatever happens to the observer, and the dead are found when it sees again.
 * Nothing but the observer's own doubt is left to protect the living: no knock at a machine is answered, as behind a firewall that drops, so that the
 * second path agrees to every death. In each case one agent in a hundred really dies in the middle of the fault.
 */
import type { Figure, Scenario } from "../scenario.ts";
import { type FaultCase, faultCases } from "./cases.ts";
import { GRACE_MS, INTERVAL_MS, type Outcome, tried } from "./trial.ts";

const AGENTS = 100_000;
const FAULT_MS = 300_000;
const FULL_MINUTES = 20;

export const verdictsScenario: Scenario = {
  name: "verdicts",
  summary: "false unhealthy in each case of an observer that sees badly, and the really dead found after it; --case NAME, --agents N",
  async run({ agents = AGENTS, minutes, cases, say }) {
    const faultMs = (FAULT_MS * minutes) / FULL_MINUTES;
    const names = faultCases.map(({ name }) => name);
    const unknown = (cases ?? []).filter((name) => !names.includes(name));
    if (unknown.length > 0) throw new Error(`no such case: ${unknown.join(", ")}; there are ${names.join(", ")}`);
    const results: [FaultCase, Outcome | undefined][] = [];
    for (const fault of faultCases) {
      if (cases !== undefined && !cases.includes(fault.name)) continue;
      say(`${fault.name}: ${fault.summary}`);
      // One that fails is told, and keeps nobody from the others.
      const outcome = await tried(fault, { agents, faultMs, say }).catch((error: Error) => say(error.message));
      results.push([fault, outcome ?? undefined]);
    }
    for (const line of tableOf(results)) say(line);
    const fewest = Math.min(...results.map(([, outcome]) => outcome?.agents ?? agents));
    return {
      scenario: "verdicts",
      tier: "logical agents over 8 NATS connections with TLS, real coordinator and NATS",
      conditions: {
        agents,
        ...(fewest < agents ? { agentsWithNatsInVm: fewest } : {}),
        intervalSeconds: INTERVAL_MS / 1_000,
        graceSeconds: GRACE_MS / 1_000,
        faultSeconds: faultMs / 1_000,
        dead: "1 %",
        secondPath: "no knock is answered",
      },
      figures: results.flatMap(([{ name }, outcome]) =>
        outcome === undefined ? [{ name: `not_tried_${name}`, value: 1, unit: "cases", limit: 0 }] : figuresOf(name, outcome),
      ),
    };
  },
};

function figuresOf(name: string, { falseUnhealthy, deadFound, foundAfterSeconds, doubtedAfterSeconds }: Outcome): Figure[] {
  const quiet: Figure[] = [
    { name: "unknown_p99_s", value: p99(doubtedAfterSeconds), unit: "s", limit: 35 },
    { name: "unhealthy_p99_s", value: p99(foundAfterSeconds), unit: "s", limit: 45 },
  ];
  return [
    { name: `false_unhealthy_${name}`, value: falseUnhealthy, unit: "nodes", limit: 0 },
    { name: `dead_found_${name}`, value: 100 * deadFound, unit: "%", limit: 100, isFloor: true },
    ...(name === "quiet" ? quiet : []),
  ];
}

/** As docs/performance.md has it. */
function tableOf(results: readonly (readonly [FaultCase, Outcome | undefined])[]): readonly string[] {
  const rows = results.map(([{ name }, outcome]) => {
    if (outcome === undefined) return [name, "not tried", "", "", "", "", ""];
    const { agents, falseUnhealthy, deadFound, doubtedAfterSeconds, foundAfterSeconds, lapses } = outcome;
    const seconds = (values: readonly number[]): string => (Number.isFinite(p99(values)) ? p99(values).toFixed(1) : "-");
    return [
      name,
      agents,
      falseUnhealthy,
      `${(100 * deadFound).toFixed(1)} %`,
      seconds(doubtedAfterSeconds),
      seconds(foundAfterSeconds),
      lapses,
    ];
  });
  const head = [
    "case",
    "agents",
    "false unhealthy",
    "dead found in time",
    "death to unknown, p99 s",
    "death to unhealthy, p99 s",
    "lapses",
  ];
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
}

function p99(sorted: readonly number[]): number {
  return sorted[Math.ceil(sorted.length * 0.99) - 1] ?? Number.NaN;
}
