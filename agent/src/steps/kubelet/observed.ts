/** All that the kubelet step looks at. */
import type { KubeletSpec } from "@drover/proto";
import { KUBELET_UNIT } from "../kubeadm/places.ts";
import { installedKubelet } from "../kubeadm/programs.ts";
import type { KubernetesVersion } from "../kubeadm/versions.ts";
import type { StepContext } from "../step.ts";
import { formatYaml, parseYamlTable } from "../../format/yaml.ts";
import { isSamePlain, leafAt, type LeafPath, leavesOf } from "./leaves.ts";
import { type FileSwap, type KubeletMemory, readMemory } from "./memory.ts";
import { CONFIG_PATH, ORIGINALS_PATH, PATCH_PATH, plannedMerge } from "./merge-patch.ts";
import {
  configArgsIn,
  configDirectoryIn,
  DROP_IN_DIRECTORY,
  DROP_IN_NAME,
  DROP_INS_SINCE,
  dropInText,
  patchText,
  UNIT_DROP_IN_PATH,
  unitDropInText,
  wantedConfiguration,
} from "./wanted.ts";

export interface KubeletObserved {
  readonly isLive: boolean;
  readonly isInstalled: boolean;
  readonly version: KubernetesVersion | undefined;
  /** config.yaml is there: before a join the kubelet is started again and again, and ends for want of it. */
  readonly isConfigured: boolean;
  readonly isActive: boolean;
  readonly memory: KubeletMemory;
  /** What the unit hands the kubelet; undefined: not as kubeadm's unit does. */
  readonly configArgs: string | undefined;
  /** In the order in which they are written; only those that differ. */
  readonly swaps: readonly FileSwap[];
  /** Of config.yaml. */
  readonly leaves: readonly LeafChange[];
}

export interface LeafChange {
  readonly path: LeafPath;
  readonly from: string;
  readonly to: string;
}

export async function observeKubelet(spec: KubeletSpec, context: StepContext): Promise<KubeletObserved> {
  const { host, signal } = context;
  const memory = readMemory(await context.memory.get());
  if (!host.isLive) {
    const nothing = { isLive: false, isInstalled: false, version: undefined, isConfigured: false, isActive: false };
    return { ...nothing, memory, configArgs: undefined, swaps: [], leaves: [] };
  }
  const kubelet = await installedKubelet(context);
  const configArgs = configArgsIn(await unitDropIns(context));
  const version = kubelet?.version;
  const isConfigured = (await host.files.stat(CONFIG_PATH)) !== undefined;
  return {
    isLive: true,
    isInstalled: kubelet !== undefined,
    version,
    isConfigured,
    isActive: isConfigured && (await host.units.isActive(KUBELET_UNIT, signal)),
    memory,
    configArgs,
    ...(await compared(spec, version, configArgs, memory, context)),
  };
}

/** A kubelet that is gone or does not tell its version has nothing to be configured: what is ours is taken back. */
async function compared(
  spec: KubeletSpec,
  version: KubernetesVersion | undefined,
  configArgs: string | undefined,
  memory: KubeletMemory,
  context: StepContext,
): Promise<Pick<KubeletObserved, "swaps" | "leaves">> {
  const wanted = version === undefined ? {} : wantedConfiguration(spec, version.minor);
  const readsDropIns = version !== undefined && version.minor >= DROP_INS_SINCE;
  const asked = readsDropIns ? dropIns(dropInText(wanted), configArgs) : new Map([[PATCH_PATH, patchText(wanted)]]);
  const targets = new Map<string, string | null>([...memory.files.map((path) => [path, null] as const), ...asked]);
  const swaps: FileSwap[] = [];
  for (const [path, after] of targets) {
    const before = await textOf(path, context);
    if (before !== after) swaps.push({ path, before, after });
  }
  const patch = parseYamlTable((memory.files.includes(PATCH_PATH) ? await textOf(PATCH_PATH, context) : null) ?? "");
  const planned = await plannedMerge(readsDropIns ? {} : wanted, context, patch.ok ? patch.table : {});
  const isPatchSame = !swaps.some(({ path }) => path === PATCH_PATH);
  if (planned === undefined || (planned.isSame && isPatchSame)) return { swaps, leaves: [] };
  const { merged, present } = planned;
  // Before the patch: with a patch and no originals, its keys count as set by kubeadm.
  const originals = merged.originals.length === 0 ? null : `${JSON.stringify(merged.originals)}\n`;
  swaps.unshift({ path: ORIGINALS_PATH, before: await textOf(ORIGINALS_PATH, context), after: originals });
  if (planned.isSame) return { swaps, leaves: [] };
  swaps.push({ path: CONFIG_PATH, before: planned.text, after: formatYaml(merged.table) });
  const paths = new Map([...leavesOf(merged.table), ...leavesOf(present)].map(({ path }) => [JSON.stringify(path), path]));
  const leaves = [...paths.values()].flatMap((path): readonly LeafChange[] => {
    const [from, to] = [leafAt(present, path), leafAt(merged.table, path)];
    if (isSamePlain(from, to)) return [];
    return [{ path, from: from === undefined ? "" : JSON.stringify(from), to: to === undefined ? "" : JSON.stringify(to) }];
  });
  return { swaps, leaves };
}

/** A directory that the operator has given the kubelet already is used as it is. */
function dropIns(text: string | null, configArgs: string | undefined): ReadonlyMap<string, string | null> {
  const theirs = configArgs === undefined ? undefined : configDirectoryIn(configArgs);
  if (theirs !== undefined) return new Map([[`${theirs}/${DROP_IN_NAME}`, text]]);
  return new Map([
    [`${DROP_IN_DIRECTORY}/${DROP_IN_NAME}`, text],
    [UNIT_DROP_IN_PATH, text === null || configArgs === undefined ? null : unitDropInText(configArgs)],
  ]);
}

/** Of others, as systemd reads them: by name, those in /etc instead of those of packages. */
async function unitDropIns({ host }: StepContext): Promise<readonly string[]> {
  const paths = new Map<string, string>();
  for (const directory of ["/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system"]) {
    for (const name of await host.files.list(`${directory}/${KUBELET_UNIT}.d`)) paths.set(name, `${directory}/${KUBELET_UNIT}.d/${name}`);
  }
  const texts: string[] = [];
  for (const [, path] of [...paths].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (path === UNIT_DROP_IN_PATH || !path.endsWith(".conf")) continue;
    if ((await host.files.stat(path))?.kind === "file") texts.push((await host.files.read(path))?.toString("utf8") ?? "");
  }
  return texts;
}

export async function textOf(path: string, { host }: Pick<StepContext, "host">): Promise<string | null> {
  return (await host.files.read(path))?.toString("utf8") ?? null;
}
