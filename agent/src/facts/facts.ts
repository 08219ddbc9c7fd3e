/** The machine, once per boot: /proc and /sys, and systeminformation only for what they do not say here. */
import { type Clock, systemClock, withDeadline } from "@drover/lifecycle";
import { type Disk, Facts, type Nic } from "@drover/proto";
import type { Host } from "../host/host.ts";
import { machineKind, parseCpuinfo, parseMeminfo, parseOsRelease, versionIn } from "./parse.ts";
import { type MachineTree, systemTree } from "./machine-tree.ts";

export interface FactsParts {
  readonly host: Host;
  readonly agentVersion: string;
  readonly clock?: Clock;
  /** Default: this machine's /proc, /sys and /etc. */
  readonly tree?: MachineTree;
}

const VERSION_TIMEOUT_MS = 10_000;
const ASK_TIMEOUT_MS = 10_000;

/** Program to where it may lie and how it is asked; each is one short child. */
const PROGRAMS: Readonly<Record<string, { readonly paths: readonly string[]; readonly args: readonly string[] }>> = {
  containerd: { paths: ["/usr/bin/containerd", "/usr/local/bin/containerd"], args: ["--version"] },
  runc: { paths: ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"], args: ["--version"] },
  kubelet: { paths: ["/usr/bin/kubelet", "/usr/local/bin/kubelet"], args: ["--version"] },
  kubeadm: { paths: ["/usr/bin/kubeadm", "/usr/local/bin/kubeadm"], args: ["version", "-o", "short"] },
  systemd: { paths: ["/usr/bin/systemctl", "/bin/systemctl"], args: ["--version"] },
};

/** What cannot be known stays empty; nothing here throws but an abort. */
export async function collectFacts(
  { host, agentVersion, clock = systemClock, tree = systemTree }: FactsParts,
  signal: AbortSignal,
): Promise<Facts> {
  const text = async (path: string): Promise<string> => (await tree.read(path).catch(() => "")).trim();
  const release = parseOsRelease((await text("/etc/os-release")) || (await text("/usr/lib/os-release")));
  const cpu = parseCpuinfo(await text("/proc/cpuinfo"));
  const asked = async <T>(ask: () => Promise<T>, otherwise: T): Promise<T> =>
    withDeadline(clock, "systeminformation", ASK_TIMEOUT_MS, signal, ask).catch(() => otherwise);
  let vendor = await text("/sys/class/dmi/id/sys_vendor");
  let product = await text("/sys/class/dmi/id/product_name");
  // Boards without DMI name themselves in the device tree, in many ways.
  if (vendor === "" && product === "") ({ vendor, product } = await asked(() => tree.board(), { vendor, product }));
  const detected = {
    vendor,
    product,
    hasHypervisorFlag: cpu.hasHypervisorFlag,
    init: (await text("/proc/1/environ")).replaceAll("\0", "\n"),
  };
  return Facts.fromPartial({
    hostname: await text("/proc/sys/kernel/hostname"),
    bootId: await text("/proc/sys/kernel/random/boot_id"),
    machineId: await text("/etc/machine-id"),
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    kernel: await text("/proc/sys/kernel/osrelease"),
    os: release.id,
    osVersion: release.version,
    cpus: cpu.count,
    cpuModel: cpu.model === "" ? await asked(() => tree.cpuModel(), "") : cpu.model,
    memoryBytes: parseMeminfo(await text("/proc/meminfo")),
    disks: await disks(tree, text),
    nics: await nics(tree, text),
    versions: await versions(host, signal),
    agentVersion,
    machineKind: machineKind(detected),
    vendor,
    product,
  });
}

async function versions(host: Host, signal: AbortSignal): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const [name, { paths, args }] of Object.entries(PROGRAMS)) {
    if (!host.isLive) break;
    try {
      const program = await host.commands.find(paths);
      if (program === undefined) continue;
      const { exitCode, stdout } = await host.commands.run({ program, args, timeoutMs: VERSION_TIMEOUT_MS }, signal);
      const version = exitCode === 0 ? versionIn(stdout) : undefined;
      if (version !== undefined) found[name] = version;
    } catch {
      signal.throwIfAborted();
    }
  }
  return found;
}

async function disks(tree: MachineTree, text: (path: string) => Promise<string>): Promise<Disk[]> {
  const found: Disk[] = [];
  for (const name of await tree.list("/sys/block").catch(() => [])) {
    if (/^(loop|ram|zram|dm-|md|sr|fd|nbd)/.test(name)) continue;
    const sizeBytes = Number(await text(`/sys/block/${name}/size`)) * 512;
    if (!(sizeBytes > 0)) continue;
    const isRotational = (await text(`/sys/block/${name}/queue/rotational`)) === "1";
    const kind = name.startsWith("nvme") ? "nvme" : /^(vd|xvd)/.test(name) ? "virtual" : isRotational ? "hdd" : "ssd";
    found.push({ name, sizeBytes, kind });
  }
  return found;
}

async function nics(tree: MachineTree, text: (path: string) => Promise<string>): Promise<Nic[]> {
  const addresses = await tree.addresses().catch(() => new Map<string, readonly string[]>());
  const found: Nic[] = [];
  for (const name of await tree.list("/sys/class/net").catch(() => [])) {
    // Only ARPHRD_ETHER, and of containers' own ends there are too many to tell.
    if ((await text(`/sys/class/net/${name}/type`)) !== "1" || /^(veth|cali|lxc)/.test(name)) continue;
    const speed = Number(await text(`/sys/class/net/${name}/speed`));
    const mac = await text(`/sys/class/net/${name}/address`);
    found.push({ name, mac, addresses: [...(addresses.get(name) ?? [])], speedMbits: speed > 0 ? speed : 0 });
  }
  return found;
}
