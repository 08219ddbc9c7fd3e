/** What the containerd step remembers across runs and crashes: what it set, what was there before, and a change under way. */
import { formatTomlValue, isSameToml, parseTomlValue, type TomlPath, type TomlTable, type TomlValue, valueAt } from "../../format/toml.ts";

export interface ContainerdMemory {
  /** The operator's config.toml before our first write; null: there was none. undefined: config.toml is as we found it. */
  readonly config?: {
    readonly originalText: string | null;
    /** The same in the schema of the installed version, before our values. */
    readonly baseText: string;
  };
  /** Keys of config.toml that we set. */
  readonly keys: readonly OwnedKey[];
  /** Files under certs.d that are ours, with what lay there before; null: nothing. */
  readonly files: Readonly<Record<string, string | null>>;
  readonly attempt?: Attempt;
}

/** Values as TOML text, which keeps their types. */
export interface OwnedKey {
  readonly path: TomlPath;
  /** null: the key was not in the file. */
  readonly original: string | null;
  readonly set: string;
  /** Written out only so that containerd keeps what it had; no value of the plan. */
  readonly isSeed?: true;
}

/** The try record: durable before the first file changes, gone when CRI has answered or all is back. */
export interface Attempt {
  readonly bootId: string;
  /** Unix milliseconds; for people. */
  readonly startedAtMs: number;
  /** swapping: files may differ from either side; restarted: containerd runs with the new ones; reverting: on the way back. */
  readonly phase: "swapping" | "restarted" | "reverting";
  /** In the order in which they are written. */
  readonly files: readonly { readonly path: string; readonly before: string | null; readonly after: string | null }[];
  /** What is remembered once all is back. */
  readonly previous: Omit<ContainerdMemory, "attempt">;
  /** Why it is being reverted. */
  readonly failure?: string;
}

export const NOTHING_REMEMBERED: ContainerdMemory = { keys: [], files: {} };

/** @param remembered what the step's memory holds: written by rememberedOf, or undefined */
export function readMemory(remembered: unknown): ContainerdMemory {
  if (typeof remembered !== "object" || remembered === null || !("keys" in remembered) || !("files" in remembered))
    return NOTHING_REMEMBERED;
  return remembered as ContainerdMemory;
}

/** @returns undefined when there is nothing to remember */
export function rememberedOf(memory: ContainerdMemory): ContainerdMemory | undefined {
  const isEmpty =
    memory.config === undefined && memory.attempt === undefined && memory.keys.length === 0 && Object.keys(memory.files).length === 0;
  return isEmpty ? undefined : memory;
}

/** @param before the table before our value */
export function ownedKey(path: TomlPath, before: TomlTable, set: TomlValue): OwnedKey {
  const original = valueAt(before, path);
  return { path, original: original === undefined ? null : formatTomlValue(original), set: formatTomlValue(set) };
}

/** Whether the file still says what we set. */
export function isStillOurs(key: OwnedKey, table: TomlTable): boolean {
  return isSameToml(valueAt(table, key.path), parseTomlValue(key.set));
}
