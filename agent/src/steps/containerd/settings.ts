/** What a spec asks of containerd's configuration, as paths and values in one schema. Pure. */
import type { ContainerdSpec } from "@drover/proto";
import { isTomlTable, parseTomlValue, type TomlPath, type TomlTable, type TomlValue, valueAt } from "../../format/toml.ts";
import { CERTS_DIRECTORY } from "./hosts-files.ts";
import { type ConfigSchema, ROOT_DIR, RUNC_SHIM, STATE_DIR } from "./schemas.ts";

export interface Setting {
  readonly path: TomlPath;
  readonly value: TomlValue;
}

/**
 * @param effective the configuration as containerd uses it now
 * @param withoutOurs the same with our keys taken back
 * @returns no path twice
 */
export function settingsOf(spec: ContainerdSpec, schema: ConfigSchema, effective: TomlTable, withoutOurs: TomlTable): readonly Setting[] {
  const settings = new Map<string, Setting>();
  const put = (path: TomlPath, value: TomlValue): void => void settings.set(JSON.stringify(path), { path, value });
  if (spec.rootDir !== "") put(ROOT_DIR, spec.rootDir);
  if (spec.stateDir !== "") put(STATE_DIR, spec.stateDir);
  if (spec.sandboxImage !== "") put(schema.sandboxImage, spec.sandboxImage);
  if (spec.maxConcurrentDownloads !== 0) put(schema.maxConcurrentDownloads, BigInt(spec.maxConcurrentDownloads));
  if (spec.restrictOomScoreAdj !== undefined) put(schema.restrictOomScoreAdj, spec.restrictOomScoreAdj);
  if (spec.defaultRuntime !== "") put(schema.defaultRuntime, spec.defaultRuntime);
  if (spec.registries.length > 0) {
    const path = [...schema.registry, "config_path"];
    put(path, withCertsDirectory(valueAt(effective, path)));
  }
  if (spec.systemdCgroup !== undefined) {
    for (const name of runcRuntimes(spec, schema, withoutOurs)) {
      const type = [...schema.runtimes, name, "runtime_type"];
      if ((valueAt(withoutOurs, type) ?? "") === "") put(type, RUNC_SHIM);
      put([...schema.runtimes, name, "options", "SystemdCgroup"], spec.systemdCgroup);
    }
  }
  for (const runtime of spec.runtimes) {
    const table = [...schema.runtimes, runtime.name];
    if (runtime.runtimeType !== "") put([...table, "runtime_type"], runtime.runtimeType);
    for (const [option, text] of Object.entries(runtime.options)) {
      const value = parseTomlValue(text);
      if (value !== undefined) put([...table, "options", option], value);
    }
  }
  return [...settings.values()];
}

/** Names of the runtimes that containerd knows. */
export function runtimesOf(schema: ConfigSchema, effective: TomlTable): readonly string[] {
  const runtimes = valueAt(effective, schema.runtimes);
  return isTomlTable(runtimes) ? Object.keys(runtimes) : [];
}

/** A node has one cgroup driver: every runtime that runs runc must agree with the kubelet, not only the one named runc. */
function runcRuntimes(spec: ContainerdSpec, schema: ConfigSchema, withoutOurs: TomlTable): ReadonlySet<string> {
  const names = new Set<string>(["runc"]);
  for (const name of runtimesOf(schema, withoutOurs)) {
    if (valueAt(withoutOurs, [...schema.runtimes, name, "runtime_type"]) === RUNC_SHIM) names.add(name);
  }
  for (const runtime of spec.runtimes) {
    if (runtime.runtimeType === RUNC_SHIM) names.add(runtime.name);
    else if (runtime.runtimeType !== "") names.delete(runtime.name);
  }
  return names;
}

/** Ours comes first; directories that the operator named keep their registries. */
function withCertsDirectory(present: TomlValue | undefined): string {
  const directories = typeof present === "string" ? present.split(":").filter((directory) => directory !== "") : [];
  return directories.includes(CERTS_DIRECTORY) ? directories.join(":") : [CERTS_DIRECTORY, ...directories].join(":");
}
