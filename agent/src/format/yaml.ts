/** The one door to YAML that others wrote; what is written is JSON's subset of it, in block form. Comments are not kept. */
import { parse, stringify, YAMLParseError } from "yaml";

export type PlainValue = string | number | boolean | null | readonly PlainValue[] | PlainTable;
export interface PlainTable {
  readonly [key: string]: PlainValue;
}

export type TableParsing = { readonly ok: true; readonly table: PlainTable } | { readonly ok: false; readonly message: string };

/** One document whose top is a mapping; an empty one counts as an empty mapping. */
export function parseYamlTable(text: string): TableParsing {
  try {
    const value: unknown = parse(text, { maxAliasCount: 50, logLevel: "error" }) ?? {};
    return isPlainTable(value) ? { ok: true, table: value } : { ok: false, message: "is no mapping" };
  } catch (error) {
    if (!(error instanceof YAMLParseError || error instanceof ReferenceError)) throw error;
    return { ok: false, message: error.message.split("\n", 1)[0] ?? "" };
  }
}

export function formatYaml(table: PlainTable): string {
  return stringify(table, { lineWidth: 0 });
}

export function isPlainTable(value: unknown): value is PlainTable {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
