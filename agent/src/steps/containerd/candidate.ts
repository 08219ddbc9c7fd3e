/** The config.toml that would be: the operator's file without our values, then with them; and what may differ by that. Pure. */
import {
  formatToml,
  formatTomlPath,
  isSameToml,
  isTomlTable,
  leavesOf,
  parseToml,
  parseTomlValue,
  type TomlPath,
  type TomlTable,
  valueAt,
  withoutValueAt,
  withValueAt,
} from "../../format/toml.ts";
import { type ContainerdMemory, isStillOurs, type OwnedKey, ownedKey } from "./memory.ts";
import type { ConfigSchema } from "./schemas.ts";
import { runtimesOf, type Setting } from "./settings.ts";

const HEADER = [
  "drover-agent has set keys in this file and keeps them as this node's plan says; every other key",
  "is the operator's and stays. Comments were lost by that: when the plan no longer sets anything",
  "here, the file gets back its original text. `drover-agent diff` tells what differs.",
];

/** The table as it would be without us: each key that still has our value gets its original back. */
export function withOriginals(table: TomlTable, keys: readonly OwnedKey[]): TomlTable {
  let result = table;
  for (const key of keys) {
    if (!isStillOurs(key, result)) continue;
    const original = key.original === null ? undefined : parseTomlValue(key.original);
    result = original === undefined ? withoutValueAt(result, key.path) : withValueAt(result, key.path, original);
  }
  return result;
}

export interface Candidate {
  /** undefined: no file. */
  readonly text: string | undefined;
  readonly keys: readonly OwnedKey[];
}

/**
 * @param base the operator's own, in this schema
 * @param defaults the runtimes as containerd has them with base alone
 */
export function candidateOf(
  base: TomlTable,
  defaults: TomlTable,
  settings: readonly Setting[],
  schema: ConfigSchema,
  remembered: readonly OwnedKey[],
): Candidate {
  const seeds = seedsOf(base, defaults, settings, schema);
  const all = new Map([...seeds, ...settings].map((setting) => [JSON.stringify(setting.path), setting]));
  let table: TomlTable = { ...base, version: BigInt(schema.version) };
  for (const { path, value } of all.values()) table = withValueAt(table, path, value);
  const asked = new Set(settings.map(({ path }) => JSON.stringify(path)));
  const keys = [...all].map(([id, { path, value }]) => {
    const known = remembered.find((key) => JSON.stringify(key.path) === id);
    const key = ownedKey(path, base, value);
    return { ...key, original: known?.original ?? key.original, ...(asked.has(id) ? {} : { isSeed: true as const }) };
  });
  return { text: formatToml(table, HEADER), keys };
}

/** What the file is when we set nothing in it: the original text where nobody else changed anything since. */
export function restoredText(presentText: string | undefined, stripped: TomlTable, config: ContainerdMemory["config"]): string | undefined {
  if (config !== undefined) {
    const base = parseToml(config.baseText);
    if (base.ok && isSameToml(stripped, base.table)) return config.originalText ?? undefined;
  }
  const present = parseToml(presentText ?? "");
  return present.ok && isSameToml(stripped, present.table) ? presentText : formatToml(stripped);
}

/** containerd 1.x forgets its own runtimes, and fields of one, as soon as a file names any: then they are written out. */
function seedsOf(base: TomlTable, defaults: TomlTable, settings: readonly Setting[], schema: ConfigSchema): readonly Setting[] {
  const touchesRuntimes = settings.some(({ path }) => isUnder(path, schema.runtimes));
  if (!schema.isRuntimesTableReplaced || !touchesRuntimes || valueAt(base, schema.runtimes) !== undefined) return [];
  const runtimes = valueAt(defaults, schema.runtimes);
  return isTomlTable(runtimes) ? [...leavesOf(runtimes, schema.runtimes)].map(([path, value]) => ({ path, value })) : [];
}

/** Keys whose effective value differs, in the order of their names. */
export function changedPaths(before: TomlTable, after: TomlTable): readonly TomlPath[] {
  const paths = new Map([...leavesOf(before), ...leavesOf(after)].map(([path]) => [JSON.stringify(path), path]));
  return [...paths.values()].filter((path) => !isSameToml(valueAt(before, path), valueAt(after, path)));
}

/**
 * Of the paths that differ, those that are not ours to change.
 * @param ours paths that are set now or were set before
 */
export function unrelatedPaths(
  changed: readonly TomlPath[],
  ours: readonly TomlPath[],
  before: TomlTable,
  after: TomlTable,
  schema: ConfigSchema,
): readonly string[] {
  const owned = new Set(ours.map(formatTomlPath));
  const comeOrGone = ours
    .filter((path) => isUnder(path, schema.runtimes))
    .map((path) => path.slice(0, schema.runtimes.length + 1))
    .filter((path) => (valueAt(before, path) === undefined) !== (valueAt(after, path) === undefined));
  return changed
    .filter((path) => !owned.has(formatTomlPath(path)) && !comeOrGone.some((runtime) => isUnder(path, runtime)))
    .map(formatTomlPath)
    .filter((path) => path !== "version")
    .toSorted();
}

/** Every place that Drover may ever set, for when remembered paths are of an older schema than the file will be. */
export function settablePaths(schema: ConfigSchema, effective: TomlTable, keys: readonly OwnedKey[]): readonly TomlPath[] {
  const runtimes = new Set([...runtimesOf(schema, effective)].filter((name) => keys.some((key) => key.path.includes(name))));
  return [
    schema.sandboxImage,
    schema.defaultRuntime,
    schema.maxConcurrentDownloads,
    schema.restrictOomScoreAdj,
    [...schema.registry, "config_path"],
    ...[...runtimes].flatMap((name) =>
      [...leavesOf(asTable(valueAt(effective, [...schema.runtimes, name])), [...schema.runtimes, name])].map(([path]) => path),
    ),
  ];
}

export function isUnder(path: TomlPath, prefix: TomlPath): boolean {
  return path.length > prefix.length && prefix.every((key, index) => path[index] === key);
}

function asTable(value: ReturnType<typeof valueAt>): TomlTable {
  return isTomlTable(value) ? value : {};
}
