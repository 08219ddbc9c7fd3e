/** Reads agent.yaml: all problems at once, each with file:line:column. What a valid one looks like is agent-config's. */
import { readFile } from "node:fs/promises";
import { didYouMean } from "@drover/api";
import { isMap, isScalar, LineCounter, parseDocument, type Document } from "yaml";
import { type AgentConfig, agentConfigSchema } from "./agent-config.ts";

export type ConfigReading =
  | { readonly isValid: true; readonly config: AgentConfig }
  | { readonly isValid: false; readonly problems: readonly string[] };

/** Never throws for what a person may have got wrong; each problem is one line, ready to print. */
export async function readConfig(path: string): Promise<ConfigReading> {
  try {
    return parseConfig(await readFile(path, "utf8"), path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "error";
    const next = code === "ENOENT" ? "write it, or name another with --config" : "check the path and its permissions";
    return { isValid: false, problems: [`${path}: cannot be read (${code}); ${next}`] };
  }
}

/** @param path only for the problems' text */
export function parseConfig(text: string, path: string): ConfigReading {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${Math.max(1, line)}:${Math.max(1, col)}`;
  };
  if (document.errors.length > 0) {
    return { isValid: false, problems: document.errors.map((error) => `${at(error.pos[0])}: ${firstLine(error.message)}`) };
  }
  const parsed = agentConfigSchema.safeParse(document.toJS() ?? {});
  if (parsed.success) return { isValid: true, config: deepFreeze(parsed.data) };
  const problems = parsed.error.issues.flatMap((issue) => {
    const keys = issue.path.map(String);
    if (issue.code === "unrecognized_keys") {
      const place = keys.length > 0 ? keys.join(".") : "agent.yaml";
      return issue.keys.map((key) => ({
        offset: offsetOf(document, [...keys, key], "key"),
        text: `${place}: has no key "${key}"${suggestion(key, keys)}`,
      }));
    }
    const isMissing = keys.length > 0 && !document.hasIn(keys);
    const why = isMissing ? `is missing: it ${issue.message}` : issue.message;
    return [{ offset: offsetOf(document, keys), text: `${keys.join(".") || "agent.yaml"}: ${why}` }];
  });
  problems.sort((a, b) => a.offset - b.offset);
  return { isValid: false, problems: problems.map((problem) => `${at(problem.offset)}: ${problem.text}`) };
}

/** Of the deepest part of the path that is written in the document: where its plain value begins, else its key. */
function offsetOf(document: Document, keys: readonly string[], want: "key" | "value" = "value"): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const key of keys) {
    if (!isMap(node)) return offset;
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
    if (pair === undefined) return offset;
    const place = want === "value" && isScalar(pair.value) ? pair.value : pair.key;
    offset = (isScalar(place) ? place.range?.[0] : undefined) ?? offset;
    node = pair.value;
  }
  return offset;
}

function suggestion(key: string, place: readonly string[]): string {
  const known = place.length === 0 ? Object.keys(agentConfigSchema.shape) : ["poll", "driftScan"];
  return `; ${didYouMean(key, known, `known are ${known.join(", ")}`)}`;
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? text;
}

function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) if (typeof inner === "object" && inner !== null) deepFreeze(inner);
  return Object.freeze(value);
}
