/** What an operator does by hand on a machine before Kubernetes: containerd's and CNI's configuration, images from a file. */
import { copyFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Machine } from "../machine.ts";
import { PAUSE_IMAGE } from "../roots/cluster-images.ts";

/** The restriction is needed where root may not raise OOM scores. */
const containerdConfig = `version = 2

[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "${PAUSE_IMAGE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`;

/** Pods of each machine have a network of their own, by the last number of the machine's address. */
function cniConfig(machineAddress: string): string {
  const plugin = {
    type: "bridge",
    bridge: "cni0",
    isGateway: true,
    ipam: { type: "host-local", ranges: [[{ subnet: `10.244.${machineAddress.split(".").at(-1)}.0/24` }]], routes: [{ dst: "0.0.0.0/0" }] },
  };
  return `${JSON.stringify({ cniVersion: "0.4.0", name: "bed", plugins: [plugin, { type: "portmap", capabilities: { portMappings: true } }] }, null, 2)}\n`;
}

/** Configures containerd and CNI, and waits for CRI. */
export async function configureContainerd(machine: Machine): Promise<void> {
  await machine.writeFile("/etc/containerd/config.toml", containerdConfig);
  await machine.writeFile("/etc/cni/net.d/10-bridge.conflist", cniConfig(machine.address));
  await must(machine, "systemctl", ["restart", "containerd.service"]);
  await must(machine, "crictl", ["info"]);
}

/** As configureContainerd, and what else kubeadm's preflight wants. */
export async function prepareNode(machine: Machine): Promise<void> {
  await machine.writeFile("/etc/sysctl.d/90-kubernetes.conf", "net.ipv4.ip_forward = 1\n");
  await must(machine, "sysctl", ["--load=/etc/sysctl.d/90-kubernetes.conf"]);
  await configureContainerd(machine);
}

/** Imports image archives of this computer into the machine's containerd. */
export async function importImages(machine: Machine, archives: readonly string[]): Promise<void> {
  for (const archive of archives) {
    const name = `import-${basename(archive)}`;
    await copyFile(archive, join(machine.directory, "var-lib", name));
    await must(machine, "ctr", ["--namespace", "k8s.io", "images", "import", `/var/lib/${name}`]);
    await rm(join(machine.directory, "var-lib", name));
  }
}

/** @throws with what it said when it ends with anything but 0 */
export async function must(machine: Machine, program: string, args: readonly string[], timeoutMs = 120_000): Promise<string> {
  const { exitCode, stdout, stderr } = await machine.run(program, args, { timeoutMs });
  if (exitCode !== 0) throw new Error(`${machine.name}: ${program} ${args.join(" ")} ended with ${exitCode}: ${stdout}${stderr}`);
  return stdout;
}
