/** Where each containerd version keeps what Drover sets: the tables, as data, and the choice among them. Pure. */
import type { TomlPath, TomlValue } from "../../format/toml.ts";

export interface ConfigSchema {
  /** The file's own `version` key. */
  readonly version: 2 | 3 | 4;
  readonly sandboxImage: TomlPath;
  readonly runtimes: TomlPath;
  readonly defaultRuntime: TomlPath;
  readonly maxConcurrentDownloads: TomlPath;
  readonly restrictOomScoreAdj: TomlPath;
  readonly registry: TomlPath;
  /** A runtime named in the file stands alone: the other runtimes and the fields that the file leaves out lose their defaults. */
  readonly isRuntimesTableReplaced: boolean;
  /** `containerd config ...` that prints a file of an older schema in this one. */
  readonly migration: "dump" | "migrate";
}

const CRI_V2 = ["plugins", "io.containerd.grpc.v1.cri"];
const CRI_RUNTIME = ["plugins", "io.containerd.cri.v1.runtime"];
const CRI_IMAGES = ["plugins", "io.containerd.cri.v1.images"];

const v2: ConfigSchema = {
  version: 2,
  sandboxImage: [...CRI_V2, "sandbox_image"],
  runtimes: [...CRI_V2, "containerd", "runtimes"],
  defaultRuntime: [...CRI_V2, "containerd", "default_runtime_name"],
  maxConcurrentDownloads: [...CRI_V2, "max_concurrent_downloads"],
  restrictOomScoreAdj: [...CRI_V2, "restrict_oom_score_adj"],
  registry: [...CRI_V2, "registry"],
  isRuntimesTableReplaced: true,
  // 1.x has no `config migrate`; its dump of a version 1 file is in version 2.
  migration: "dump",
};

const v3: ConfigSchema = {
  version: 3,
  sandboxImage: [...CRI_IMAGES, "pinned_images", "sandbox"],
  runtimes: [...CRI_RUNTIME, "containerd", "runtimes"],
  defaultRuntime: [...CRI_RUNTIME, "containerd", "default_runtime_name"],
  maxConcurrentDownloads: [...CRI_IMAGES, "max_concurrent_downloads"],
  restrictOomScoreAdj: [...CRI_RUNTIME, "restrict_oom_score_adj"],
  registry: [...CRI_IMAGES, "registry"],
  isRuntimesTableReplaced: false,
  migration: "migrate",
};

// 4 moved grpc, ttrpc, debug and metrics into plugins of their own; what Drover sets is where it was.
const v4: ConfigSchema = { ...v3, version: 4 };

export const ROOT_DIR: TomlPath = ["root"];
export const STATE_DIR: TomlPath = ["state"];
export const RUNC_SHIM = "io.containerd.runc.v2";

/** What the runtimes are when a file says nothing, for where containerd cannot be asked. */
export const DEFAULT_RUNTIMES: Readonly<Record<string, Readonly<Record<string, TomlValue>>>> = { runc: { runtime_type: RUNC_SHIM } };

/**
 * @param version as containerd tells it: "1.6.20~ds1", "v2.1.0"
 * @returns undefined: older than 1.6, or none that is known
 */
export function schemaOf(version: string): ConfigSchema | undefined {
  const match = /^v?(\d+)\.(\d+)(?!\d)/.exec(version);
  if (match === null) return undefined;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  if (major === 1) return minor >= 6 ? v2 : undefined;
  if (major !== 2) return undefined;
  return minor >= 3 ? v4 : v3;
}

/** For an image whose containerd cannot be run and is in no package list: as its file is written. */
export function schemaOfFile(fileVersion: number): ConfigSchema | undefined {
  return [v2, v3, v4].find((schema) => schema.version === fileVersion);
}

/** @param text of `containerd --version`: "containerd github.com/containerd/containerd/v2 2.1.9 hash" */
export function versionOfOutput(text: string): string | undefined {
  return text.split(/\s+/).find((word) => /^v?\d+\.\d+(\.|$)/.test(word));
}

/** @param status /var/lib/dpkg/status */
export function versionOfPackages(status: string): string | undefined {
  for (const paragraph of status.split(/\n\n+/)) {
    if (!/^Package: containerd(\.io)?$/m.test(paragraph) || !/^Status: .* installed$/m.test(paragraph)) continue;
    const version = /^Version: (?:\d+:)?(\S+)$/m.exec(paragraph)?.[1];
    if (version !== undefined) return version;
  }
  return undefined;
}
