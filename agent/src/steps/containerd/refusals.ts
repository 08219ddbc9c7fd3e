/** Why a containerd spec must not be applied on this machine. Pure. */
import type { ContainerdSpec } from "@drover/proto";
import { formatTomlPath, isTomlTable, parseTomlValue, valueAt } from "../../format/toml.ts";
import type { Refusal } from "../step.ts";
import { CONFIG_PATH, fileVersionOf } from "./effective.ts";
import { isRegistryHost } from "./hosts-files.ts";
import type { ContainerdObserved } from "./observed.ts";
import type { ConfigSchema } from "./schemas.ts";
import { runtimesOf } from "./settings.ts";

const RUNTIME = /^[a-z0-9][-a-z0-9_.]*$/i;

export function refuseContainerd(spec: ContainerdSpec, observed: ContainerdObserved): Refusal | undefined {
  return refuseSpec(spec) ?? refuseMachine(spec, observed);
}

function refuseSpec(spec: ContainerdSpec): Refusal | undefined {
  const hosts = spec.registries.map((registry) => registry.host);
  for (const registry of spec.registries) {
    if (!isRegistryHost(registry.host))
      return { reason: "InvalidRegistry", message: `${JSON.stringify(registry.host)} is no registry host` };
    const urls = [registry.server, ...registry.mirrors.map((mirror) => mirror.url)].filter((url) => url !== "");
    const wrong = urls.find((url) => !/^https?:\/\/[^/\s@]+(\/\S*)?$/.test(url));
    if (wrong !== undefined)
      return {
        reason: "InvalidRegistry",
        message: `${registry.host}: ${JSON.stringify(wrong)} is no http or https URL without credentials`,
      };
    if (registry.mirrors.some((mirror) => mirror.url === ""))
      return { reason: "InvalidRegistry", message: `${registry.host}: a mirror has no URL` };
    const twice = repeated(registry.mirrors.map((mirror) => mirror.url));
    if (twice !== undefined) return { reason: "InvalidRegistry", message: `${registry.host}: mirror ${twice} is named twice` };
  }
  const twice = repeated(hosts);
  if (twice !== undefined) return { reason: "InvalidRegistry", message: `registry ${twice} is named twice` };
  for (const runtime of spec.runtimes) {
    if (!RUNTIME.test(runtime.name)) return { reason: "InvalidRuntime", message: `${JSON.stringify(runtime.name)} is no runtime name` };
    for (const [option, text] of Object.entries(runtime.options)) {
      if (parseTomlValue(text) === undefined) {
        return {
          reason: "InvalidRuntime",
          message: `option ${option} of runtime ${runtime.name} is no TOML value: ${JSON.stringify(text)}`,
        };
      }
    }
  }
  return undefined;
}

function refuseMachine(spec: ContainerdSpec, observed: ContainerdObserved): Refusal | undefined {
  const { installation, file, isLive } = observed;
  if (!observed.isConfigPlain) {
    return { reason: "ConfigNotPlain", message: `${CONFIG_PATH} is a link or no file; replace it by a plain file with what it means` };
  }
  if (!file.ok) return { reason: "ConfigUnreadable", message: `${CONFIG_PATH}:${file.line}:${file.column}: ${file.message}` };
  if (asksNothing(spec)) return undefined;
  if (isLive && installation.program === undefined) {
    return { reason: "ContainerdNotInstalled", message: "there is no containerd in /usr/local/bin or /usr/bin" };
  }
  const { schema, version } = installation;
  if (schema === undefined) {
    const what = version === undefined ? "the installed containerd does not tell its version" : `containerd ${version} is installed`;
    return { reason: "UnsupportedContainerd", message: `${what}; 1.6, 1.7 and 2.x can be configured` };
  }
  if (fileVersionOf(file.table) > schema.version) {
    return {
      reason: "ConfigTooNew",
      message: `${CONFIG_PATH} has version ${fileVersionOf(file.table)}, containerd ${version ?? ""} reads at most ${schema.version}`,
    };
  }
  if (observed.effectiveFailure !== undefined) return { reason: "ConfigUnreadable", message: observed.effectiveFailure };
  return refuseMount(spec, observed) ?? refuseRegistries(spec, observed, schema) ?? refuseDefaultRuntime(spec, observed, schema);
}

function refuseMount(spec: ContainerdSpec, observed: ContainerdObserved): Refusal | undefined {
  if (!observed.isLive || spec.requiredMount === "" || observed.isMounted) return undefined;
  return {
    reason: "MountMissing",
    message: `${spec.requiredMount} is not mounted: containerd's data would land on the file system below it`,
  };
}

/** With config_path set, CRI does not start when hosts are configured inline as well. */
function refuseRegistries(spec: ContainerdSpec, observed: ContainerdObserved, schema: ConfigSchema): Refusal | undefined {
  if (spec.registries.length === 0) return undefined;
  const registry = valueAt(observed.effective, schema.registry);
  const inline = isTomlTable(registry)
    ? [...inlineHosts(registry["mirrors"], "mirrors"), ...inlineHosts(registry["configs"], "configs")]
    : [];
  if (inline.length > 0) {
    const keys = inline.map((path) => formatTomlPath([...schema.registry, ...path])).join(", ");
    return {
      reason: "InlineMirrors",
      message: `${CONFIG_PATH} configures registries inline (${keys}), which excludes certs.d: move them to hosts.toml files and remove them there`,
    };
  }
  const [preferred] = observed.preferredDirectories;
  if (preferred === undefined) return undefined;
  return {
    reason: "RegistryShadowed",
    message: `${preferred} exists, and containerd reads it instead of the one named as the host: remove it`,
  };
}

function inlineHosts(table: unknown, name: "mirrors" | "configs"): readonly (readonly string[])[] {
  if (typeof table !== "object" || table === null) return [];
  return Object.entries(table)
    .filter(([, entry]) => name === "mirrors" || (typeof entry === "object" && entry !== null && "tls" in entry))
    .map(([host]) => (name === "mirrors" ? [name, host] : [name, host, "tls"]));
}

function refuseDefaultRuntime(spec: ContainerdSpec, observed: ContainerdObserved, schema: ConfigSchema): Refusal | undefined {
  const name = spec.defaultRuntime;
  const known = [...runtimesOf(schema, observed.effective), ...spec.runtimes.map((runtime) => runtime.name), "runc"];
  if (name === "" || known.includes(name)) return undefined;
  return { reason: "UnknownRuntime", message: `default runtime ${name} is none of ${[...new Set(known)].toSorted().join(", ")}` };
}

function asksNothing(spec: ContainerdSpec): boolean {
  const { registries, runtimes, systemdCgroup, restrictOomScoreAdj, maxConcurrentDownloads } = spec;
  const texts = [spec.sandboxImage, spec.rootDir, spec.stateDir, spec.requiredMount, spec.defaultRuntime];
  const isPlain = texts.every((text) => text === "") && registries.length === 0 && runtimes.length === 0;
  return isPlain && systemdCgroup === undefined && restrictOomScoreAdj === undefined && maxConcurrentDownloads === 0;
}

function repeated(names: readonly string[]): string | undefined {
  return names.find((name, index) => names.indexOf(name) !== index);
}
