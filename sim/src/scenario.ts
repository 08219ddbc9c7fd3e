/** A simulation as a person writes it: a YAML file, or flags, or both; a flag counts more. All that is wrong is told at once, with its place. */
import { readFileSync } from "node:fs";
import { formatPath, parseDurationMs, type Problem, readYaml, shapeFindings, type SourceDocument } from "@drover/api";
import { z } from "zod";

const duration = z
  .string()
  .regex(/^(\d+(ms|s|m|h|d))+$/, "must be a duration such as 30s, 5m or 1h30m")
  .transform(parseDurationMs);
const share = z
  .string()
  .regex(/^\d{1,3}(\.\d+)?%$/, "must be a share such as 1% or 0.5%")
  .transform((text) => Number(text.slice(0, -1)) / 100)
  .refine((value) => value <= 1, "must be at most 100%");
const count = (least: number, most: number) => z.int().min(least).max(most);

export const faultNames = ["silence", "unreachable", "lag", "skew", "duplicate", "failSteps", "slowSteps"] as const;
const NEEDS_BY: ReadonlySet<string> = new Set(["lag", "skew", "slowSteps"]);

const fault = z
  .strictObject({
    do: z.enum(faultNames),
    at: duration.describe("After all agents have beaten once."),
    for: duration.optional().describe("Then it is taken back; left out: it stays."),
    share: share.optional().describe("Of the agents, drawn by the seed."),
    agents: z.array(count(0, 999_999)).min(1).optional().describe("By their index."),
    by: duration.optional().describe("Of lag, skew and slowSteps: how much."),
    kind: z.string().optional().describe("Of failSteps: the kind of step; left out: any."),
    reason: z
      .string()
      .regex(/^[A-Z][A-Za-z]*$/, "must be CamelCase")
      .default("Simulated"),
    message: z.string().default("simulated failure"),
  })
  .superRefine((value, context) => {
    const say = (message: string): void => context.addIssue({ code: "custom", message });
    if ((value.share === undefined) === (value.agents === undefined)) say("must say whom: share, or agents, and not both");
    if (NEEDS_BY.has(value.do) && value.by === undefined) say(`must say by how much: ${value.do} needs by`);
    if (value.do === "duplicate" && value.for !== undefined) say("must not end: a clone is there from then on; leave out for");
  });

const scenario = z.strictObject({
  agents: count(1, 1_000_000),
  tier: z.enum(["logical", "socket"]).default("logical"),
  seed: count(0, 4_294_967_295).default(1),
  heartbeatInterval: duration.prefault("10s").describe("Until the coordinator's budget tells otherwise."),
  start: z.enum(["converged", "enrolled"]).default("converged"),
  changesPerMinute: share.prefault("1%").describe("Agents that tell one delta per minute."),
  stepTime: duration.prefault("500ms"),
  poll: duration.prefault("10m").describe("Between sessions that nobody asked for."),
  zones: count(1, 10_000).default(5),
  racks: count(1, 100_000).optional(),
  probePort: count(1, 65_535).optional().describe("Gives NodeSet sim a second path."),
  imagesPerNode: count(0, 400).default(0),
  for: duration.prefault("1m").describe("How long it is measured, after all agents have beaten once."),
  rolloutAt: duration.optional().describe("When a live change is rolled out to all, as set sim's strategy has it."),
  faults: z.array(fault).max(1_000).default([]),
  coordinator: z.record(z.string(), z.json()).default({}).describe("More keys of coordinator.yaml."),
});

export type Scenario = z.infer<typeof scenario>;
export type ScenarioFault = Scenario["faults"][number];
export type ScenarioReading =
  | { readonly ok: true; readonly scenario: Scenario }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * @param path of a YAML file; undefined: flags alone
 * @param flags key of the scenario to its value as YAML would have it; undefined ones are passed over
 */
export function readScenario(path: string | undefined, flags: Readonly<Record<string, unknown>>): ScenarioReading {
  const source = path === undefined ? undefined : documentOf(path);
  if (source !== undefined && "problems" in source) return { ok: false, problems: source.problems };
  const document = source?.document;
  const written = document?.value ?? {};
  if (typeof written !== "object" || Array.isArray(written)) {
    return { ok: false, problems: [{ file: path!, ...at(document, []), path: "", message: "must be a mapping of settings", hint: "" }] };
  }
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
  const raw = { ...written, ...given };
  const findings = shapeFindings(scenario, raw);
  if (findings.length === 0) return { ok: true, scenario: scenario.parse(raw) };
  const problems = findings.map(({ path: parts, at: where, message, hint }): Problem => {
    const flag = Object.hasOwn(given, String(parts[0]));
    const place = flag ? { line: 0, column: 0 } : at(document, parts, where);
    return { file: flag ? "the command line" : (path ?? "the command line"), ...place, path: formatPath(parts), message, hint };
  });
  return { ok: false, problems: problems.toSorted((a, b) => a.line - b.line || a.column - b.column) };
}

function documentOf(path: string): { readonly document: SourceDocument | undefined } | { readonly problems: readonly Problem[] } {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const message = `cannot be read: ${(error as Error).message}`;
    return { problems: [{ file: path, line: 0, column: 0, path: "", message, hint: "name the scenario's file with -f, or give flags" }] };
  }
  const reading = readYaml(text);
  if (!reading.ok) return { problems: reading.errors.map((error) => ({ file: path, path: "", ...error })) };
  const [document, second] = reading.documents;
  if (second === undefined) return { document };
  return { problems: [{ file: path, ...at(second, []), path: "", message: "is a second document; one is expected", hint: "" }] };
}

function at(document: SourceDocument | undefined, parts: readonly (string | number)[], where: "key" | "value" = "value") {
  return document?.position(parts, where) ?? { line: 0, column: 0 };
}
