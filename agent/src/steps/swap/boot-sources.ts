/**
 * What else brings swap back at boot: swap units, and services that make swap. Units that systemd makes of fstab are fstab's;
 * all others, of whatever generator (GPT partitions, zram), are masked by a link to /dev/null, which wins over all of them.
 */
import type { StepContext } from "../step.ts";

export const MASK_DIRECTORY = "/etc/systemd/system";
export const MASK_TARGET = "/dev/null";
/** Without a device in it, zram-generator makes none; of its main files this one counts. */
export const ZRAM_FILE = "/etc/systemd/zram-generator.conf";
export const ZRAM_TEXT = "# Written by drover-agent from this node's plan: no zram devices, since swap is off.\n";

const UNIT_DIRECTORIES = ["/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/system"];
const GENERATED_DIRECTORIES = ["/run/systemd/generator.early", "/run/systemd/generator", "/run/systemd/generator.late"];
const ZRAM_FILES = [
  ZRAM_FILE,
  "/run/systemd/zram-generator.conf",
  "/usr/local/lib/systemd/zram-generator.conf",
  "/usr/lib/systemd/zram-generator.conf",
];
/** Of zram-tools, zram-config, dphys-swapfile and swapspace: they make swap by themselves. */
const SERVICES = ["zramswap.service", "zram-swap.service", "zram-config.service", "dphys-swapfile.service", "swapspace.service"];
const UNIT = /^[A-Za-z0-9:_.@\\-]+\.(swap|service)$/;

export interface BootSources {
  /** Names of units that are not masked. */
  readonly units: readonly string[];
  /** A zram-generator configuration other than ours is in force. */
  readonly isZramConfigured: boolean;
}

export async function readBootSources(context: StepContext): Promise<BootSources> {
  const { files, isLive } = context.host;
  const units = new Set<string>();
  for (const directory of [MASK_DIRECTORY, ...UNIT_DIRECTORIES]) {
    for (const name of await files.list(directory)) if (isSwapMaker(name)) units.add(name);
  }
  for (const directory of isLive ? GENERATED_DIRECTORIES : []) {
    for (const name of await files.list(directory)) {
      if (name.endsWith(".swap") && UNIT.test(name) && !(await isOfFstab(`${directory}/${name}`, context))) units.add(name);
    }
  }
  const unmasked: string[] = [];
  for (const name of units) if ((await files.readLink(`${MASK_DIRECTORY}/${name}`)) !== MASK_TARGET) unmasked.push(name);
  return { units: unmasked.sort(), isZramConfigured: await isZramConfigured(context) };
}

function isSwapMaker(name: string): boolean {
  return UNIT.test(name) && (name.endsWith(".swap") || SERVICES.includes(name));
}

async function isOfFstab(path: string, context: StepContext): Promise<boolean> {
  if ((await context.host.files.stat(path))?.kind !== "file") return false;
  return /^SourcePath=\/etc\/fstab$/m.test((await context.host.files.read(path))?.toString("utf8") ?? "");
}

async function isZramConfigured(context: StepContext): Promise<boolean> {
  const { files } = context.host;
  for (const path of ZRAM_FILES) {
    const stat = await files.stat(path);
    if (stat === undefined) continue;
    return stat.kind === "file" && /^\s*\[/m.test((await files.read(path))?.toString("utf8") ?? "");
  }
  return false;
}
