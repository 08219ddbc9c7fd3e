/** Changes that are well formed and cut their node off, and what a profile is without them. */
import type { Machine } from "../../testbed/machine.ts";

export type FaultName = "network" | "ports" | "cri" | "kubelet";

export interface Fault {
  readonly name: FaultName;
  /** The profile that is good but for this. */
  readonly spec: (good: GoodSpec) => object;
  /** The step whose change does it, as the try record names its kind. */
  readonly kind: string;
  /** How its plan may end. */
  readonly reasons: readonly string[];
}

export interface GoodSpec {
  readonly sysctl: { readonly values: Readonly<Record<string, string>> };
  readonly containerd: object;
  readonly kubelet?: { readonly configuration: object };
}

/** Where containerd's configuration names this, the planted containerd has no CRI. */
const CUT_OFF = "cut-off.example";
const UNDONE = ["NotConfirmed", "BootedUnconfirmed"];

export const faults: Readonly<Record<FaultName, Fault>> = {
  /** The coordinator's packets come in by another leg than the one that leads to it: the machine drops them. */
  network: {
    name: "network",
    spec: (good) => ({ ...good, sysctl: { values: { ...good.sysctl.values, "net.ipv4.conf.all.rp_filter": "1" } } }),
    kind: "sysctl",
    reasons: UNDONE,
  },
  /** No port is left for a new connection; those that are open live on. */
  ports: {
    name: "ports",
    spec: (good) => ({ ...good, sysctl: { values: { ...good.sysctl.values, "net.ipv4.ip_local_reserved_ports": "1024-65535" } } }),
    kind: "sysctl",
    reasons: UNDONE,
  },
  /** containerd accepts and starts; its CRI does not, because of a fault planted beside it. */
  cri: {
    name: "cri",
    spec: (good) => ({ ...good, containerd: { ...good.containerd, sandboxImage: `${CUT_OFF}/pause:1` } }),
    kind: "containerd",
    reasons: [...UNDONE, "CriNotAnswering"],
  },
  /** The field is known, its value is out of range: the kubelet ends at once, again and again. */
  kubelet: {
    name: "kubelet",
    spec: (good) => ({ ...good, kubelet: { configuration: { ...good.kubelet?.configuration, oomScoreAdj: 5000 } } }),
    kind: "kubelet",
    reasons: [...UNDONE, "KubeletNotHealthy"],
  },
};

/** @param value of one key that the kernel has another default for: a change of it is good, and has to be confirmed */
export function goodSpec(value: number, hasKubelet: boolean): GoodSpec {
  return {
    sysctl: { values: { "net.core.somaxconn": String(value) } },
    containerd: { maxConcurrentDownloads: 4 },
    ...(hasKubelet ? { kubelet: { configuration: { maxPods: 50 } } } : {}),
  };
}

/** Of a light machine, after each of its boots: a second leg into the same network, by which it answers the coordinator. */
export async function addSecondLeg(
  machine: Machine,
  bed: { run: (program: string, args: readonly string[]) => Promise<unknown> },
  coordinator: string,
): Promise<void> {
  const script = `ip link add eth1 link eth0 type macvlan mode bridge && ip link set eth1 up \
    && ip route replace ${coordinator}/32 dev eth1 src ${machine.address} && ip -o link show eth0`;
  const made = await machine.run("sh", ["-c", script]);
  const leg = /link\/ether (\S+)/.exec(made.stdout)?.[1];
  if (made.exitCode !== 0 || leg === undefined) throw new Error(`${machine.name} gets no second leg: ${made.stderr}${made.stdout}`);
  // Or the answers would come in by the leg that the questions went out.
  await bed.run("ip", ["neigh", "replace", machine.address, "lladdr", leg, "nud", "permanent", "dev", "br0"]);
}

/** Ends with exec, as a service's script does. */
const plantedContainerd = `config=/etc/containerd/config.toml
if grep -q '${CUT_OFF}' $config; then
  { echo 'disabled_plugins = ["io.containerd.grpc.v1.cri"]'; cat $config; } > /run/without-cri.toml
  config=/run/without-cri.toml
fi
exec /usr/bin/containerd --config $config
`;

/** In place of the machine's containerd. */
export async function plantContainerd(machine: Machine): Promise<void> {
  if (machine.kind === "light") await machine.addService("containerd", plantedContainerd);
  else {
    const path = "/usr/local/sbin/planted-containerd";
    await machine.writeFile(path, `#!/bin/sh\n${plantedContainerd}`, 0o755);
    await machine.writeFile("/etc/systemd/system/containerd.service.d/planted.conf", `[Service]\nExecStart=\nExecStart=${path}\n`);
    await machine.run("systemctl", ["daemon-reload"]);
  }
  const restarted = await machine.run("systemctl", ["restart", "containerd.service"]);
  if (restarted.exitCode !== 0) throw new Error(`${machine.name}: containerd does not start: ${restarted.stderr}`);
}

/** A kubelet that runs by itself: its cluster's API does not answer. */
export async function configureLonelyKubelet(machine: Machine): Promise<void> {
  const kubeconfig = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "none", cluster: { server: "https://127.0.0.1:6443" } }],
    users: [{ name: "kubelet", user: { token: "none" } }],
    contexts: [{ name: "none", context: { cluster: "none", user: "kubelet" } }],
    "current-context": "none",
  };
  const config = {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    cgroupDriver: "cgroupfs",
    failSwapOn: false,
    authentication: { anonymous: { enabled: false }, webhook: { enabled: false } },
    authorization: { mode: "AlwaysAllow" },
  };
  // The second line is read after the unit's own, so that no certificate has to be fetched first.
  const flags =
    'KUBELET_KUBEADM_ARGS="--container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock"\n' +
    'KUBELET_KUBECONFIG_ARGS="--kubeconfig=/etc/kubernetes/kubelet.conf"\n';
  await machine.writeFile("/etc/kubernetes/kubelet.conf", JSON.stringify(kubeconfig), 0o600);
  await machine.writeFile("/var/lib/kubelet/config.yaml", JSON.stringify(config));
  await machine.writeFile("/var/lib/kubelet/kubeadm-flags.env", flags);
  await machine.run("systemctl", ["restart", "kubelet.service"]);
}
