/** Our own file in the form of modules-load.d(5), and who keeps modules from being loaded by modprobe.d(5). Pure. */
import { canonicalModuleName } from "@drover/api";

export const OWN_FILE = "/etc/modules-load.d/90-drover.conf";
/** Highest precedence first; a file hides those of its name in later ones. */
export const MODPROBE_DIRECTORIES = [
  "/etc/modprobe.d",
  "/run/modprobe.d",
  "/usr/local/lib/modprobe.d",
  "/usr/lib/modprobe.d",
  "/lib/modprobe.d",
];

const HEADER = [
  "Written by drover-agent from this node's plan. It is written anew when it differs:",
  "change the node's NodeProfile instead.",
];

/** Sorted, so that the same names give the same bytes. @param names at least one */
export function formatModulesFile(names: readonly string[]): string {
  return `${[...HEADER.map((line) => `# ${line}`), ...[...names].sort()].join("\n")}\n`;
}

/** A line that keeps a module from being loaded. */
export interface Block {
  /** Canonical. */
  readonly module: string;
  /** "/etc/modprobe.d/x.conf:3" or "the kernel's command line". */
  readonly where: string;
  /** "blacklist": at boot only, by hand it loads; "install": a command runs in its place; "kernel": never. */
  readonly how: "blacklist" | "install" | "kernel";
}

export function blocksOf(sources: readonly { readonly path: string; readonly text: string }[], commandLine: string): readonly Block[] {
  const lines = sources.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, index): Block[] => {
      const [verb, name] = line.trim().split(/\s+/);
      if (name === undefined || (verb !== "blacklist" && verb !== "install")) return [];
      return [{ module: canonicalModuleName(name), where: `${path}:${index + 1}`, how: verb }];
    }),
  );
  const words = commandLine.split(/\s+/).flatMap((word): Block[] => {
    const match = /^(module_blacklist|modprobe\.blacklist)=(.*)$/.exec(word.replaceAll('"', ""));
    const how = match?.[1] === "module_blacklist" ? "kernel" : "blacklist";
    const names = (match?.[2] ?? "").split(",").filter((name) => name !== "");
    return names.map((name) => ({ module: canonicalModuleName(name), where: "the kernel's command line", how }));
  });
  return [...lines, ...words];
}

export function describeBlock({ where, how }: Block): string {
  if (how === "blacklist") return `blacklisted by ${where}: systemd does not load it at boot, drover-agent does when it starts`;
  if (how === "install") return `${where} runs a command in its place`;
  return `${where} forbids it`;
}
