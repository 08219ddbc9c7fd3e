/**
 * The one door to TOML. Integers are bigint and floats are number here, so that what is read and written again keeps its types;
 * comments and layout are not kept.
 */
import { parse, stringify, TomlDate, TomlError } from "smol-toml";

export type TomlValue = string | number | bigint | boolean | TomlDate | readonly TomlValue[] | TomlTable;
export interface TomlTable {
  readonly [key: string]: TomlValue;
}
/** Keys from the top of the document down. */
export type TomlPath = readonly string[];

export type TomlParsing =
  | { readonly ok: true; readonly table: TomlTable }
  | { readonly ok: false; readonly line: number; readonly column: number; readonly message: string };

/** @returns the table, or where and why the text is no TOML */
export function parseToml(text: string): TomlParsing {
  try {
    return { ok: true, table: parse(text, { integersAsBigInt: true }) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    return { ok: false, line: error.line, column: error.column, message: firstLine(error.message) };
  }
}

/** @param header comment lines without "#"; they come first */
export function formatToml(table: TomlTable, header: readonly string[] = []): string {
  const comment = header.map((line) => (line === "" ? "#\n" : `# ${line}\n`)).join("");
  return `${comment}${comment === "" ? "" : "\n"}${stringify(table, { numbersAsFloat: true }).trimEnd()}\n`;
}

/** One value as TOML text, on one line: `"text"`, `[ 1, 2 ]`. */
export function formatTomlValue(value: TomlValue): string {
  if (isTomlTable(value)) {
    const fields = Object.entries(value).map(([key, each]) => `${formatTomlPath([key])} = ${formatTomlValue(each)}`);
    return fields.length === 0 ? "{}" : `{ ${fields.join(", ")} }`;
  }
  if (Array.isArray(value)) return `[${(value as readonly TomlValue[]).map(formatTomlValue).join(", ")}]`;
  return stringify({ v: value as never }, { numbersAsFloat: true })
    .trim()
    .slice("v = ".length);
}

/** @returns undefined when the text is not exactly one TOML value */
export function parseTomlValue(text: string): TomlValue | undefined {
  if (text.includes("\n") || text.includes("\r")) return undefined;
  const parsing = parseToml(`v = ${text}\n`);
  return parsing.ok ? parsing.table["v"] : undefined;
}

/** As a person would write it: plugins."io.containerd.grpc.v1.cri".sandbox_image */
export function formatTomlPath(path: TomlPath): string {
  return path.map((key) => (/^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key))).join(".");
}

export function isTomlTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === "object" && !Array.isArray(value) && !(value instanceof TomlDate);
}

export function valueAt(table: TomlTable, path: TomlPath): TomlValue | undefined {
  let at: TomlValue | undefined = table;
  for (const key of path) {
    if (!isTomlTable(at) || !Object.hasOwn(at, key)) return undefined;
    at = at[key];
  }
  return at;
}

/** A copy with the value at the path; what is no table on the way is replaced by one. */
export function withValueAt(table: TomlTable, path: TomlPath, value: TomlValue): TomlTable {
  const [key, ...rest] = path;
  if (key === undefined) throw new Error("a TOML path has at least one key");
  if (rest.length === 0) return withEntry(table, key, value);
  const below = Object.hasOwn(table, key) ? table[key] : undefined;
  return withEntry(table, key, withValueAt(isTomlTable(below) ? below : {}, rest, value));
}

/** A copy without the value at the path, nor the tables that are empty by that. */
export function withoutValueAt(table: TomlTable, path: TomlPath): TomlTable {
  const [key, ...rest] = path;
  if (key === undefined || !Object.hasOwn(table, key)) return table;
  if (rest.length > 0) {
    const below = table[key];
    if (!isTomlTable(below)) return table;
    const kept = withoutValueAt(below, rest);
    if (kept === below) return table;
    if (Object.keys(kept).length > 0) return withEntry(table, key, kept);
  }
  return Object.fromEntries(Object.entries(table).filter(([name]) => name !== key));
}

/** Every value that is no table, under its path; empty tables do not show. */
export function* leavesOf(table: TomlTable, prefix: TomlPath = []): Generator<readonly [TomlPath, TomlValue]> {
  for (const [key, value] of Object.entries(table)) {
    const path = [...prefix, key];
    if (isTomlTable(value)) yield* leavesOf(value, path);
    else yield [path, value];
  }
}

/** Same type and value; tables regardless of the order of their keys. */
export function isSameToml(a: TomlValue | undefined, b: TomlValue | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (Array.isArray(a)) {
    const [left, right] = [a as readonly TomlValue[], b as readonly TomlValue[]];
    return Array.isArray(b) && left.length === right.length && left.every((value, index) => isSameToml(value, right[index]));
  }
  if (a instanceof TomlDate) return b instanceof TomlDate && a.toISOString() === b.toISOString();
  if (!isTomlTable(a)) return a === b;
  if (!isTomlTable(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && isSameToml(a[key], b[key]));
}

/** At its place when it is there, else as the last. */
function withEntry(table: TomlTable, key: string, value: TomlValue): TomlTable {
  // Not by assignment: "__proto__" is a key like any other.
  const entries = Object.entries(table);
  const isThere = Object.hasOwn(table, key);
  return Object.fromEntries(isThere ? entries.map(([name, each]) => [name, name === key ? value : each]) : [...entries, [key, value]]);
}

function firstLine(text: string): string {
  return (text.split("\n")[0] ?? text).replace(/^Invalid TOML document: /, "");
}
