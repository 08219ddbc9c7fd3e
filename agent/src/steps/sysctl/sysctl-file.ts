/** Files in the form of sysctl.d(5): ours as it is written, anybody's as it is read. Pure. */

export const OWN_FILE = "/etc/sysctl.d/90-drover.conf";

const HEADER = [
  "Written by drover-agent from this node's plan. It is written anew when it differs:",
  "change the node's NodeProfile instead. Keys that leave the plan get back the value",
  "they had before.",
];

/** Sorted by key, so that the same values give the same bytes. */
export function formatSysctlFile(values: Readonly<Record<string, string>>): string {
  const lines = Object.entries(values)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key} = ${foldBlanks(value)}`);
  return `${[...HEADER.map((line) => `# ${line}`), ...lines].join("\n")}\n`;
}

export interface SysctlLine {
  readonly lineNumber: number;
  /** In dot form; may hold glob characters. */
  readonly key: string;
  /** undefined: "-key", which only takes the key out of globs. */
  readonly value: string | undefined;
}

export function parseSysctlFile(text: string): readonly SysctlLine[] {
  const lines: SysctlLine[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#") || line.startsWith(";")) continue;
    const at = line.indexOf("=");
    const name = (at < 0 ? line : line.slice(0, at)).trim();
    // "-key = value" sets the key as well: the dash only forgives a failure.
    const key = dotForm(name.startsWith("-") ? name.slice(1).trim() : name);
    if (at < 0 && !name.startsWith("-")) continue;
    lines.push({ lineNumber: index + 1, key, value: at < 0 ? undefined : foldBlanks(line.slice(at + 1)) });
  }
  return lines;
}

/** The kernel separates by tabs what people separate by blanks. */
export function foldBlanks(value: string): string {
  return value.trim().replace(/\s+/g, " ");
}

/** With a slash as the first separator, dots and slashes have changed places: net/ipv4/conf/eth0.100/forwarding. */
function dotForm(name: string): string {
  const separator = /[./]/.exec(name)?.[0];
  if (separator !== "/") return name;
  return name.replace(/[./]/g, (each) => (each === "/" ? "." : "/"));
}
