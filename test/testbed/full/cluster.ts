/** A cluster made by hand with kubeadm, as an operator had it before Drover came: one control plane, workers join by token. */
import { createHash, X509Certificate } from "node:crypto";
import { stringify } from "yaml";
import type { Machine } from "../machine.ts";
import { eventually } from "../program.ts";
import { clusterImageArchives } from "../roots/cluster-images.ts";
import { prepareNode, importImages, must } from "./operator.ts";

/** `kubeadm init` and `kubeadm join` take half a minute on four cores that nobody else uses. */
const KUBEADM_TIMEOUT_MS = 300_000;
const KUBECONFIG = "/etc/kubernetes/admin.conf";
const CRI_SOCKET = "/run/containerd/containerd.sock";
export class HandMadeCluster {
  readonly controlPlane: Machine;
  /** "host:port" of the API server. */
  readonly endpoint: string;
  /** As kubeadm's discovery wants it: "sha256:...", of the CA's public key. */
  readonly caCertHash: string;
  /** The administrator's, with the endpoint's address in it. Secret. */
  readonly kubeconfig: string;

  constructor(controlPlane: Machine, endpoint: string, caCertHash: string, kubeconfig: string) {
    this.controlPlane = controlPlane;
    this.endpoint = endpoint;
    this.caCertHash = caCertHash;
    this.kubeconfig = kubeconfig;
  }

  /** kubectl in the control plane, as administrator. @returns standard output @throws when it fails */
  async kubectl(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    return must(this.controlPlane, "kubectl", [`--kubeconfig=${KUBECONFIG}`, ...args], timeoutMs);
  }

  async nodeIsReady(name: string): Promise<boolean> {
    const status = await this.kubectl(["get", "node", name, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}']);
    return status === "True";
  }

  /** A bootstrap token by hand, for a quarter of an hour. */
  async createToken(): Promise<string> {
    return (await must(this.controlPlane, "kubeadm", ["token", "create", "--ttl", "15m"])).trim();
  }

  /** Ids of the bootstrap tokens that are in the cluster now. */
  async tokenIds(): Promise<readonly string[]> {
    const names = await this.kubectl([
      "--namespace=kube-system",
      "get",
      "secrets",
      "--field-selector=type=bootstrap.kubernetes.io/token",
      "-o",
      "name",
    ]);
    return names.split("\n").flatMap((name) => (name === "" ? [] : [name.replace("secret/bootstrap-token-", "")]));
  }

  /** Joins a machine as a worker, by hand, without Drover. */
  async joinByHand(machine: Machine): Promise<void> {
    await prepareNode(machine);
    await importImages(machine, (await clusterImageArchives()).slice(-1));
    const token = await this.createToken();
    const config = {
      apiVersion: "kubeadm.k8s.io/v1beta2",
      kind: "JoinConfiguration",
      discovery: {
        bootstrapToken: { apiServerEndpoint: this.endpoint, token, caCertHashes: [this.caCertHash] },
      },
      nodeRegistration: { name: machine.name, criSocket: CRI_SOCKET },
    };
    await machine.writeFile("/run/kubeadm.yaml", stringify(config), 0o600);
    await must(machine, "kubeadm", ["join", "--config=/run/kubeadm.yaml"], KUBEADM_TIMEOUT_MS);
    await must(machine, "rm", ["/run/kubeadm.yaml"]);
    await must(this.controlPlane, "kubeadm", ["token", "delete", token.slice(0, 6)]);
  }
}

/** `kubeadm init` in a full machine; its node is Ready when this returns, and no bootstrap token is left. */
export async function makeCluster(machine: Machine): Promise<HandMadeCluster> {
  await prepareNode(machine);
  await importImages(machine, await clusterImageArchives());
  const endpoint = `${machine.address}:6443`;
  const documents = [
    {
      apiVersion: "kubeadm.k8s.io/v1beta2",
      kind: "InitConfiguration",
      localAPIEndpoint: { advertiseAddress: machine.address, bindPort: 6443 },
      // Of kube-proxy and CoreDNS there are no images.
      nodeRegistration: { name: machine.name, criSocket: CRI_SOCKET, ignorePreflightErrors: ["ImagePull"] },
    },
    {
      apiVersion: "kubeadm.k8s.io/v1beta2",
      kind: "ClusterConfiguration",
      kubernetesVersion: "v1.20.2",
      controlPlaneEndpoint: endpoint,
      networking: { podSubnet: "10.244.0.0/16" },
    },
    { apiVersion: "kubelet.config.k8s.io/v1beta1", kind: "KubeletConfiguration", cgroupDriver: "cgroupfs", failSwapOn: false },
  ];
  await machine.writeFile("/run/kubeadm.yaml", documents.map((document) => stringify(document)).join("---\n"), 0o600);
  await must(machine, "kubeadm", ["init", "--config=/run/kubeadm.yaml", "--skip-phases=addon", "--skip-token-print"], KUBEADM_TIMEOUT_MS);
  const cluster = new HandMadeCluster(
    machine,
    endpoint,
    caCertHash(await machine.readFile("/etc/kubernetes/pki/ca.crt")),
    `${await machine.readFile(KUBECONFIG)}\n`,
  );
  await eventually("the control plane's node is ready", 60_000, () => cluster.nodeIsReady(machine.name));
  await must(machine, "rm", ["/run/kubeadm.yaml"]);
  await must(machine, "kubeadm", ["token", "delete", ...(await cluster.tokenIds())]);
  return cluster;
}

function caCertHash(pem: string): string {
  const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  return `sha256:${createHash("sha256").update(key).digest("hex")}`;
}
