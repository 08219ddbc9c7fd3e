/** containerd's own program on a fake machine: tells its version, and prints what a configuration amounts to, as 1.x does. */
import { formatToml, isTomlTable, parseToml, type TomlTable } from "../format/toml.ts";
import type { FakeFiles } from "./fake-files.ts";
import type { FakeProgram } from "./fake-commands.ts";

export const FAKE_CONTAINERD_PATH = "/usr/bin/containerd";

const DEFAULTS: TomlTable = {
  version: 2n,
  root: "/var/lib/containerd",
  state: "/run/containerd",
  oom_score: 0n,
  imports: [],
  plugins: {
    "io.containerd.grpc.v1.cri": {
      sandbox_image: "registry.k8s.io/pause:3.8",
      max_concurrent_downloads: 3n,
      restrict_oom_score_adj: false,
      containerd: {
        default_runtime_name: "runc",
        runtimes: { runc: { runtime_type: "io.containerd.runc.v2", options: { SystemdCgroup: false } } },
      },
      registry: { config_path: "" },
    },
  },
};

/** @param version "1.7.20" */
export function fakeContainerdProgram(files: FakeFiles, version: string): FakeProgram {
  return ({ args }) => {
    if (args[0] === "--version") return { stdout: `containerd github.com/containerd/containerd v${version} 0000000\n` };
    const path = args[0] === "--config" ? args[1] : undefined;
    const file = parseToml(path === undefined ? "" : (files.text(path) ?? ""));
    if (!file.ok) return { exitCode: 1, stderr: `containerd: failed to load TOML: ${path}: ${file.message}\n` };
    return { stdout: formatToml(merged(DEFAULTS, file.table)) };
  };
}

function merged(defaults: TomlTable, over: TomlTable): TomlTable {
  const result: Record<string, TomlTable[string]> = { ...defaults };
  for (const [key, value] of Object.entries(over)) {
    const before = result[key];
    // As 1.x: a file that names runtimes names all of them.
    result[key] = isTomlTable(before) && isTomlTable(value) && key !== "runtimes" ? merged(before, value) : value;
  }
  return result;
}
