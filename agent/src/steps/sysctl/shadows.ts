/**
 * Which files of others set our keys after our own file does, by systemd-sysctl's order (sysctl.d(5)): sorted by base name
 * over all directories, the later wins; of two with one name only the one in the directory of higher precedence counts.
 */
import { foldBlanks, OWN_FILE, parseSysctlFile } from "./sysctl-file.ts";

/** Highest precedence first. */
export const SYSCTL_DIRECTORIES = ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
/** Read last: by `sysctl --system` itself, by systemd-sysctl through the link /etc/sysctl.d/99-sysctl.conf. */
export const SYSCTL_CONF = "/etc/sysctl.conf";

export interface SysctlSource {
  readonly path: string;
  /** undefined: a link or no plain file; it hides others of its name, but is not read. */
  readonly text: string | undefined;
}

export interface Shadow {
  readonly key: string;
  readonly path: string;
  readonly lineNumber: number;
  readonly value: string;
  /** The line names the key by a pattern: systemd-sysctl lets our explicit key win, other loaders may not. */
  readonly isGlob: boolean;
}

/** Of all files found, those that are read after ours, in the order in which they are read. */
export function sourcesAfterOurs(found: readonly SysctlSource[]): readonly SysctlSource[] {
  const own = baseName(OWN_FILE);
  const byName = new Map<string, SysctlSource>();
  for (const source of found.toSorted((a, b) => precedence(a.path) - precedence(b.path))) {
    const name = baseName(source.path);
    if (source.path !== SYSCTL_CONF && name.endsWith(".conf") && name > own && !byName.has(name)) byName.set(name, source);
  }
  const sorted = [...byName].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, source]) => source);
  return [...sorted, ...found.filter((source) => source.path === SYSCTL_CONF)];
}

/**
 * What wins over our values at boot or with the next `sysctl --system`.
 * @param sources as of sourcesAfterOurs
 */
export function shadowsOf(values: Readonly<Record<string, string>>, sources: readonly SysctlSource[]): readonly Shadow[] {
  const lines = sources.flatMap(({ path, text }) => (text === undefined ? [] : parseSysctlFile(text).map((line) => ({ path, ...line }))));
  const excluded = new Set(lines.filter((line) => line.value === undefined).map((line) => line.key));
  return Object.entries(values).flatMap(([key, value]) => {
    const setting = lines.filter((line) => line.value !== undefined);
    const last =
      setting.findLast((line) => line.key === key) ??
      (excluded.has(key) ? undefined : setting.findLast((line) => isGlob(line.key) && matchesGlob(line.key, key)));
    if (last?.value === undefined || last.value === foldBlanks(value)) return [];
    return [{ key, path: last.path, lineNumber: last.lineNumber, value: last.value, isGlob: last.key !== key }];
  });
}

function isGlob(key: string): boolean {
  return /[*?[]/.test(key);
}

/** As glob(7) on /proc/sys: no pattern reaches over a separator. */
function matchesGlob(pattern: string, key: string): boolean {
  const source = pattern.replace(/\[[^\]]*\]|[\s\S]/g, (part) => {
    if (part === "*") return "[^.]*";
    if (part === "?") return "[^.]";
    if (part.length > 1) return `[${part.slice(1, -1).replace(/^!/, "^").replace(/\\/g, "\\\\")}]`;
    return part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  });
  try {
    return new RegExp(`^${source}$`).test(key);
  } catch {
    return false;
  }
}

function precedence(path: string): number {
  return SYSCTL_DIRECTORIES.findIndex((directory) => path.startsWith(`${directory}/`));
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
