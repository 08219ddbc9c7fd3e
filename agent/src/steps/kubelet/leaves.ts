/** Parts of a configuration by where they stand, and how one is laid over another: as JSON merge patch (RFC 7396) without removals. Pure. */
import { isPlainTable, type PlainTable, type PlainValue } from "../../format/yaml.ts";

/** Keys from the top down; written "evictionHard.memory.available" for people, compared as JSON. */
export type LeafPath = readonly string[];

export interface Leaf {
  readonly path: LeafPath;
  /** No mapping with keys in it: lists are set whole. */
  readonly value: PlainValue;
}

export function leavesOf(table: PlainTable): readonly Leaf[] {
  return Object.entries(table).flatMap(([key, value]) =>
    isPlainTable(value) && Object.keys(value).length > 0
      ? leavesOf(value).map((leaf) => ({ path: [key, ...leaf.path], value: leaf.value }))
      : [{ path: [key], value }],
  );
}

export function leafAt(table: PlainTable, path: LeafPath): PlainValue | undefined {
  const [key, ...below] = path;
  const value = key === undefined || !Object.hasOwn(table, key) ? undefined : table[key];
  if (below.length === 0) return value;
  return isPlainTable(value) ? leafAt(value, below) : undefined;
}

export function withLeaf(table: PlainTable, path: LeafPath, value: PlainValue): PlainTable {
  const [key = "", ...below] = path;
  if (below.length === 0) return { ...table, [key]: value };
  const inner = table[key];
  return { ...table, [key]: withLeaf(isPlainTable(inner) ? inner : {}, below, value) };
}

/** Mappings that were made for it go with their last key. */
export function withoutLeaf(table: PlainTable, path: LeafPath): PlainTable {
  const [key = "", ...below] = path;
  const { [key]: inner, ...others } = table;
  if (below.length === 0 || !isPlainTable(inner)) return below.length === 0 ? others : table;
  const rest = withoutLeaf(inner, below);
  return Object.keys(rest).length === 0 ? others : { ...table, [key]: rest };
}

/** Key order does not count, that of lists does. */
export function isSamePlain(a: PlainValue | undefined, b: PlainValue | undefined): boolean {
  return JSON.stringify(sortedKeys(a)) === JSON.stringify(sortedKeys(b));
}

function sortedKeys(value: PlainValue | undefined): unknown {
  if (Array.isArray(value)) return value.map(sortedKeys);
  if (!isPlainTable(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, sortedKeys(each)]),
  );
}
