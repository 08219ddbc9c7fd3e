/** What the kubelet's configuration is to say, and the files that say it. Pure. */
import { MAX_PARALLEL_PULLS_SINCE } from "@drover/api";
import type { KubeletSpec } from "@drover/proto";
import { isPlainTable, type PlainTable } from "../../format/yaml.ts";

export const DROP_IN_DIRECTORY = "/etc/kubernetes/kubelet.conf.d";
/** A kubelet reads only names that end in .conf. */
export const DROP_IN_NAME = "90-drover.conf";
export const UNIT_DROP_IN_PATH = "/etc/systemd/system/kubelet.service.d/90-drover.conf";
/**
 * The first minor release of Kubernetes 1 whose kubelets take --config-dir as it is (beta): 1.28 and 1.29 do not start with it
 * unless KUBELET_CONFIG_DROPIN_DIR_ALPHA is in their environment.
 */
export const DROP_INS_SINCE = 30;

/** undefined: the plan's text is no JSON object. */
export function configurationOf(spec: KubeletSpec): PlainTable | undefined {
  if (spec.configuration === "") return {};
  try {
    const table: unknown = JSON.parse(spec.configuration);
    return isPlainTable(table) ? table : undefined;
  } catch {
    return undefined;
  }
}

/** @param minor of the installed kubelet */
export function wantedConfiguration(spec: KubeletSpec, minor: number): PlainTable {
  const bound =
    spec.maxParallelImagePulls > 0 && minor >= MAX_PARALLEL_PULLS_SINCE ? { maxParallelImagePulls: spec.maxParallelImagePulls } : {};
  const pulls = spec.parallelImagePulls ? { serializeImagePulls: false, ...bound } : {};
  return { ...configurationOf(spec), ...pulls };
}

/** What kubeadm is given to patch config.yaml with. */
export function patchText(wanted: PlainTable): string | null {
  return Object.keys(wanted).length === 0 ? null : `${JSON.stringify(wanted, null, 2)}\n`;
}

export function dropInText(wanted: PlainTable): string | null {
  if (Object.keys(wanted).length === 0) return null;
  const document = { apiVersion: "kubelet.config.k8s.io/v1beta1", kind: "KubeletConfiguration", ...wanted };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** @param configArgs what the unit hands the kubelet for its configuration, without ours */
export function unitDropInText(configArgs: string): string {
  return [
    "# Written by drover-agent: the kubelet reads its drop-ins as well.",
    "[Service]",
    `Environment="KUBELET_CONFIG_ARGS=${configArgs} --config-dir=${DROP_IN_DIRECTORY}"`,
    "",
  ].join("\n");
}

/** @param texts of the unit's drop-ins in the order in which systemd reads them; the last that sets it counts */
export function configArgsIn(texts: readonly string[]): string | undefined {
  const found = texts.flatMap((text) => [
    ...text.matchAll(/^Environment=(?:"KUBELET_CONFIG_ARGS=([^"]*)"|KUBELET_CONFIG_ARGS=(\S*))\s*$/gm),
  ]);
  const last = found.at(-1);
  return last === undefined ? undefined : (last[1] ?? last[2] ?? "");
}

export function configDirectoryIn(configArgs: string): string | undefined {
  return /(?:^|\s)--config-dir[= ](\/\S+)/.exec(configArgs)?.[1];
}
