/** certs.d: one hosts.toml per registry, and the CAs of its mirrors beside it. Pure. */
import type { RegistryHost } from "@drover/proto";
import { formatToml, parseToml, type TomlTable } from "../../format/toml.ts";

export const CERTS_DIRECTORY = "/etc/containerd/certs.d";

const HEADER = [
  "Written by drover-agent from this node's plan. It is written anew when it differs:",
  "change the node's NodeProfile instead.",
];

/** Absolute path to content; a CA comes before the hosts.toml that names it. */
export function hostsFilesOf(registries: readonly RegistryHost[]): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const registry of registries) {
    const directory = `${CERTS_DIRECTORY}/${registry.host}`;
    const hosts: Record<string, TomlTable> = {};
    for (const [index, mirror] of registry.mirrors.entries()) {
      const caPath = `${directory}/drover-ca-${index + 1}.pem`;
      if (mirror.caPem !== "") files.set(caPath, mirror.caPem.endsWith("\n") ? mirror.caPem : `${mirror.caPem}\n`);
      hosts[mirror.url] = {
        capabilities: mirror.capabilities.length > 0 ? mirror.capabilities : ["pull", "resolve"],
        ...(mirror.caPem === "" ? {} : { ca: caPath }),
        ...(mirror.skipVerify ? { skip_verify: true } : {}),
        ...(mirror.overridePath ? { override_path: true } : {}),
      };
    }
    const table: TomlTable = {
      ...(registry.server === "" ? {} : { server: registry.server }),
      ...(registry.mirrors.length === 0 ? {} : { host: hosts }),
    };
    files.set(`${directory}/hosts.toml`, formatToml(table, HEADER));
  }
  return files;
}

/** One path component, so that no host reaches out of certs.d. */
export function isRegistryHost(host: string): boolean {
  return /^(_default|[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:\d{1,5})?)$/i.test(host);
}

/** The directory that containerd prefers for a host with a port; with it there, ours would not be read. */
export function preferredDirectoryOf(host: string): string | undefined {
  const at = host.lastIndexOf(":");
  return at < 0 ? undefined : `${CERTS_DIRECTORY}/${host.slice(0, at)}_${host.slice(at + 1)}_`;
}

/** What a report may tell of such a file: where images come from, but no header, path or CA. */
export function summarizeHostsFile(path: string, content: string): string {
  if (!path.endsWith("/hosts.toml")) return "present";
  const parsing = parseToml(content);
  if (!parsing.ok) return "unreadable";
  const hosts = parsing.table["host"];
  const mirrors = typeof hosts === "object" ? Object.keys(hosts) : [];
  const server = parsing.table["server"];
  const parts = [...mirrors, ...(typeof server === "string" ? [`server ${server}`] : [])];
  return parts.length === 0 ? "no mirrors" : parts.map(withoutCredentials).join(", ");
}

function withoutCredentials(text: string): string {
  return text.replace(/\/\/[^/@\s]*@/g, "//");
}
