/** Checks an object whole, shape and meaning, wherever it came from. */
import { kindOf } from "./kind-of.ts";
import { checkMeaning } from "./meaning.ts";
import { didYouMean } from "./nearest.ts";
import { API_VERSION, type DroverObject, type Kind, kinds } from "./objects.ts";
import { type Finding, formatPath, type Path, type Problem } from "./problems.ts";
import { checkShape } from "./shape.ts";

export type Validation =
  | { readonly ok: true; readonly object: DroverObject }
  | { readonly ok: false; readonly problems: readonly Problem[] };

export type Check = { readonly object: DroverObject } | { readonly findings: readonly Finding[] };

const MAX_DEPTH = 64;
/** Of one object: nobody reads more, and telling all of a hostile one would take long. */
const MAX_FINDINGS = 200;

/**
 * The same checks as for manifests, for JSON that did not come from a file.
 * @param where what the problems name as their file; they have no lines
 */
export function validateObject(json: unknown, where = ""): Validation {
  const check = checkObject(json);
  if ("object" in check) return { ok: true, object: check.object };
  return {
    ok: false,
    problems: check.findings.map(({ path, message, hint }) => ({ file: where, line: 0, column: 0, path: formatPath(path), message, hint })),
  };
}

export function checkObject(json: unknown): Check {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    return { findings: [{ path: [], at: "value", message: "is no object", hint: "a manifest begins with apiVersion, kind and metadata" }] };
  }
  const hostile = findHostile(json, []);
  if (hostile.length > 0) return { findings: hostile };
  const { apiVersion, kind } = json as Readonly<Record<string, unknown>>;
  const findings = [...checkApiVersion(apiVersion), ...checkKind(kind)];
  if (!isKind(kind)) return { findings };
  const shape = checkShape(kind, apiVersion === API_VERSION ? json : { ...json, apiVersion: API_VERSION });
  if ("findings" in shape) findings.push(...shape.findings);
  // What is said of a value's shape makes what its meaning would add noise.
  const told = new Set(findings.map(({ path }) => formatPath(path)));
  findings.push(...checkMeaning(kind, json).filter(({ path }) => !told.has(formatPath(path))));
  return "object" in shape && findings.length === 0 ? { object: shape.object } : { findings: findings.slice(0, MAX_FINDINGS) };
}

function isKind(kind: unknown): kind is Kind {
  return typeof kind === "string" && Object.hasOwn(kinds, kind);
}

function checkApiVersion(apiVersion: unknown): Finding[] {
  if (apiVersion === API_VERSION) return [];
  const path: Path = ["apiVersion"];
  if (apiVersion === undefined) return [{ path, at: "value", message: "is required", hint: `write apiVersion: ${API_VERSION}` }];
  return [{ path, at: "value", message: `unknown apiVersion ${JSON.stringify(apiVersion)}`, hint: `write ${API_VERSION}` }];
}

function checkKind(kind: unknown): Finding[] {
  if (isKind(kind)) return [];
  const path: Path = ["kind"];
  const all = `known kinds: ${Object.keys(kinds).join(", ")}`;
  if (kind === undefined) return [{ path, at: "value", message: "is required", hint: all }];
  const message = `unknown kind ${JSON.stringify(kind)}`;
  if (typeof kind !== "string") return [{ path, at: "value", message, hint: all }];
  const exact = kindOf(kind);
  return [{ path, at: "value", message, hint: exact === undefined ? didYouMean(kind, Object.keys(kinds), all) : `did you mean ${exact}?` }];
}

/** Keys that validators skip or engines act on, and depth that exhausts the stack. */
function findHostile(value: unknown, path: Path): Finding[] {
  if (typeof value !== "object" || value === null) return [];
  if (path.length > MAX_DEPTH) return [{ path, at: "value", message: `is nested deeper than ${MAX_DEPTH} levels`, hint: "" }];
  if (Array.isArray(value)) return value.flatMap((item, index) => findHostile(item, [...path, index]));
  return Object.entries(value).flatMap(([key, field]): Finding[] =>
    key === "__proto__"
      ? [{ path: [...path, key], at: "key", message: "is no allowed key", hint: "" }]
      : findHostile(field, [...path, key]),
  );
}
