/**
 * The profile's values in the config.yaml that kubeadm wrote, for kubelets that read no drop-ins. What was there before lies in a file
 * beside it: it dies with a reset, as config.yaml does.
 */
import { formatYaml, isPlainTable, parseYamlTable, type PlainTable, type PlainValue } from "../../format/yaml.ts";
import { PATCHES_DIRECTORY } from "../kubeadm/places.ts";
import type { StepContext } from "../step.ts";
import { isSamePlain, leafAt, type LeafPath, leavesOf, withLeaf, withoutLeaf } from "./leaves.ts";

export const CONFIG_PATH = "/var/lib/kubelet/config.yaml";
export const ORIGINALS_PATH = "/var/lib/kubelet/drover-originals.json";
/** As kubeadm names patches: what is patched, and how. */
export const PATCH_PATH = `${PATCHES_DIRECTORY}/kubeletconfiguration+merge.json`;

/** Of each leaf that we set: what was there before; no value: nothing. */
export type Originals = readonly { readonly path: LeafPath; readonly value?: PlainValue }[];

export interface Merged {
  readonly table: PlainTable;
  readonly originals: Originals;
}

/** Pure. Leaves that are no longer wanted get back what was there before. */
export function mergedConfiguration(present: PlainTable, wanted: PlainTable, originals: Originals): Merged {
  const leaves = leavesOf(wanted);
  const keyOf = (path: LeafPath): string => JSON.stringify(path);
  const wantedKeys = new Set(leaves.map(({ path }) => keyOf(path)));
  let table = present;
  for (const { path, value } of originals) {
    if (wantedKeys.has(keyOf(path))) continue;
    table = value === undefined ? withoutLeaf(table, path) : withLeaf(table, path, value);
  }
  const known = new Map(originals.map((original) => [keyOf(original.path), original]));
  const kept = leaves.map(({ path }) => {
    const before = leafAt(present, path);
    return known.get(keyOf(path)) ?? (before === undefined ? { path } : { path, value: before });
  });
  for (const { path, value } of leaves) table = withLeaf(table, path, value);
  return { table, originals: kept };
}

/**
 * What kubeadm itself writes into config.yaml, and a kubelet is broken without: when such a key came by the patch, what the cluster
 * says instead is not known, and it stays.
 */
const BY_KUBEADM = [
  "authentication",
  "authorization",
  "cgroupDriver",
  "clusterDNS",
  "clusterDomain",
  "healthzBindAddress",
  "healthzPort",
  "resolvConf",
];

/** Pure. What kubeadm has set from our patch at the join: nobody has kept what it would have written without it. */
export function patchedByKubeadm(present: PlainTable, patch: PlainTable, originals: Originals): Originals {
  const known = new Set(originals.map(({ path }) => JSON.stringify(path)));
  return leavesOf(patch)
    .filter(({ path, value }) => isSamePlain(leafAt(present, path), value))
    .filter(({ path }) => !known.has(JSON.stringify(path)) && !BY_KUBEADM.includes(path[0] ?? ""))
    .map(({ path }) => ({ path }));
}

/**
 * The file as it is and as it is to be; undefined: kubeadm has not written it, or it is no YAML.
 * @param patch our patch as it lies there now
 */
export async function plannedMerge(
  wanted: PlainTable,
  context: Pick<StepContext, "host">,
  patch: PlainTable = {},
): Promise<{ readonly text: string; readonly present: PlainTable; readonly merged: Merged; readonly isSame: boolean } | undefined> {
  const text = (await context.host.files.read(CONFIG_PATH))?.toString("utf8");
  const parsing = parseYamlTable(text ?? "");
  if (text === undefined || !parsing.ok) return undefined;
  const originals = await readOriginals(context);
  const merged = mergedConfiguration(parsing.table, wanted, [...originals, ...patchedByKubeadm(parsing.table, patch, originals)]);
  return { text, present: parsing.table, merged, isSame: isSamePlain(parsing.table, merged.table) };
}

/** After kubeadm wrote config.yaml: as newer kubeadms do themselves with the patch. @returns whether the file is another one now */
export async function mergeKubeletPatch(context: StepContext): Promise<boolean> {
  const patch = (await context.host.files.read(PATCH_PATH))?.toString("utf8");
  const parsing = parseYamlTable(patch ?? "");
  if (patch === undefined || !parsing.ok) return false;
  const planned = await plannedMerge(parsing.table, context);
  if (planned === undefined) return false;
  await writeOriginals(planned.merged.originals, context);
  if (planned.isSame) return false;
  await context.host.files.write(CONFIG_PATH, formatYaml(planned.merged.table), 0o644);
  context.say(`merged ${PATCH_PATH} into ${CONFIG_PATH}`);
  return true;
}

/** Durable before config.yaml is written, or our own value would count as the original. */
export async function writeOriginals(originals: Originals, { host }: Pick<StepContext, "host">): Promise<void> {
  if (originals.length === 0) await host.files.remove(ORIGINALS_PATH);
  else await host.files.write(ORIGINALS_PATH, `${JSON.stringify(originals)}\n`, 0o600);
}

async function readOriginals({ host }: Pick<StepContext, "host">): Promise<Originals> {
  const text = (await host.files.read(ORIGINALS_PATH))?.toString("utf8");
  if (text === undefined) return [];
  try {
    const originals: unknown = JSON.parse(text);
    return Array.isArray(originals) ? originals.filter((each) => isPlainTable(each) && Array.isArray(each["path"])) : [];
  } catch {
    return [];
  }
}
