/** For tests: a machine with kubeadm and kubelet of 1.20, and what a join makes of it. */
import { Secret, VirtualClock } from "@drover/lifecycle";
import { KubeadmSpec } from "@drover/proto";
import { fakeHost, type FakeHost, fakeStepContext, FakeStepMemory } from "../../fake/index.ts";
import type { TransientUnit } from "../../host/transient-units-port.ts";
import { StepError } from "../step.ts";
import { kubeadmStep } from "./kubeadm-step.ts";
import { CLIENT_CERTIFICATE, JOIN_CONFIG_PATH, KUBELET_KUBECONFIG, KUBELET_UNIT } from "./places.ts";
import { CA_HASH, CA_PEM, NODE_PEM } from "./test-certificates.ts";

export const TOKEN = "abcdef.0123456789abcdef";
export const CNI = "/etc/cni/net.d";
export const spec = (parts: Partial<KubeadmSpec> = {}): KubeadmSpec =>
  KubeadmSpec.create({ cluster: "prod", endpoint: "10.0.0.1:6443", caCertHashes: [CA_HASH], nodeName: "web-1", ...parts });

export function kubeconfigOf(pem: string): string {
  const ca = Buffer.from(pem).toString("base64");
  return `apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: ${ca}\n    server: https://10.0.0.1:6443\n  name: default-cluster\n`;
}

export function becomeNode(host: FakeHost, pem = CA_PEM, nodePem = NODE_PEM): void {
  host.files.put(KUBELET_KUBECONFIG, kubeconfigOf(pem));
  host.files.put(CLIENT_CERTIFICATE, { linkTo: "/var/lib/kubelet/pki/kubelet-client-2026.pem" });
  host.files.put("/var/lib/kubelet/pki/kubelet-client-2026.pem", nodePem);
  host.files.put("/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\n");
  host.files.put("/etc/kubernetes/pki/ca.crt", pem);
  host.units.setActive(KUBELET_UNIT, true);
}

/** kubeadm of 1.20 as far as the step sees it; reset forgets the same things as the real one. */
export function kubeadm(order: TransientUnit, host: FakeHost) {
  if (order.args[0] === "reset") {
    for (const path of host.files.paths) if (path.startsWith("/etc/kubernetes/") && !path.includes("manifests")) host.files.drop(path);
    return { exitCode: 0, output: "[reset] Deleting files\n" };
  }
  if (!(host.files.text(JOIN_CONFIG_PATH) ?? "").includes(TOKEN)) return { exitCode: 1, output: "error: no configuration\n" };
  becomeNode(host);
  host.files.put(`${CNI}/10-flannel.conflist`, "{}");
  return { exitCode: 0, output: "[preflight] Running pre-flight checks\n[kubelet-start] Starting the kubelet\n" };
}

export function machine(onTransientStart: typeof kubeadm | (() => undefined) = kubeadm) {
  const clock = new VirtualClock();
  const host = fakeHost({
    onTransientStart,
    sysctls: { "kernel.hostname": "Web-1" },
    files: { [`${CNI}/05-mine.conf`]: "{}", "/etc/kubernetes/README": "" },
    programs: {
      "/usr/bin/kubeadm": () => ({ stdout: "v1.20.2\n" }),
      "/usr/bin/kubelet": () => ({ stdout: "Kubernetes v1.20.2\n" }),
    },
  });
  host.files.drop("/etc/kubernetes/README");
  const memory = new FakeStepMemory(host);
  let asked = 0;
  const credentials = {
    bootstrapToken: () => {
      asked += 1;
      return Promise.resolve(new Secret(TOKEN));
    },
  };
  const context = fakeStepContext(host, { clock, memory, credentials });
  const observe = (wanted: KubeadmSpec) => kubeadmStep.observe(wanted, context);
  const diff = async (wanted: KubeadmSpec) => kubeadmStep.diff(wanted, await observe(wanted));
  const refuse = async (wanted: KubeadmSpec) => kubeadmStep.refuse(wanted, await observe(wanted));
  const joined = async (wanted: KubeadmSpec) => kubeadmStep.conditions(wanted, await observe(wanted))[0];
  const apply = async (wanted: KubeadmSpec, signal = context.signal) =>
    whileTimePasses(clock, kubeadmStep.apply(wanted, await diff(wanted), { ...context, signal }));
  return { host, clock, context, memory, observe, diff, refuse, joined, apply, asked: () => asked };
}

async function whileTimePasses<T>(clock: VirtualClock, work: Promise<T>): Promise<T> {
  const state = { isOver: false };
  const over = work.finally(() => {
    state.isOver = true;
  });
  over.catch(() => undefined);
  while (!state.isOver) await clock.advance(100);
  return over;
}

export async function failureOf(work: Promise<unknown>): Promise<StepError> {
  const error = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  if (error instanceof StepError) return error;
  throw new Error(`no StepError, but ${String(error)}`);
}
