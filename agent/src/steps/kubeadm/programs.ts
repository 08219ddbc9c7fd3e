/** kubeadm and kubelet as they are installed. */
import type { StepContext } from "../step.ts";
import { StepError } from "../step.ts";
import { type KubeadmApi, kubeadmApiOf, type KubernetesVersion, parseKubernetesVersion } from "./versions.ts";

/** Programs that were put there on purpose before those of the distribution. */
const KUBEADM = ["/usr/local/bin/kubeadm", "/usr/bin/kubeadm"];
const KUBELET = ["/usr/local/bin/kubelet", "/usr/bin/kubelet"];
const VERSION_TIMEOUT_MS = 30_000;

export interface Kubeadm {
  readonly program: string;
  readonly version: KubernetesVersion;
  readonly api: KubeadmApi;
}

/** @throws StepError KubeadmNotInstalled, UnsupportedKubeadm */
export async function installedKubeadm(context: StepContext): Promise<Kubeadm> {
  const program = await context.host.commands.find(KUBEADM);
  if (program === undefined) {
    throw new StepError("KubeadmNotInstalled", `there is no kubeadm at ${KUBEADM.join(" or ")}: install it, or name it in binaries`, false);
  }
  const { stdout } = await context.host.commands.run(
    { program, args: ["version", "--output=short"], timeoutMs: VERSION_TIMEOUT_MS },
    context.signal,
  );
  const version = parseKubernetesVersion(stdout);
  const api = version === undefined ? undefined : kubeadmApiOf(version);
  if (version === undefined || api === undefined) {
    throw new StepError(
      "UnsupportedKubeadm",
      `${program} is ${stdout.trim() || "of no version that it tells"}; 1.15 and newer can be used`,
      false,
    );
  }
  return { program, version, api };
}

/** Not asked for its version, which takes longer than all else that is looked at before a join. */
export async function hasKubelet({ host }: Pick<StepContext, "host">): Promise<boolean> {
  return (await host.commands.find(KUBELET)) !== undefined;
}

/** undefined: not installed, or it does not tell. */
export async function installedKubelet(
  context: StepContext,
): Promise<{ readonly program: string; readonly version: KubernetesVersion | undefined } | undefined> {
  const program = await context.host.commands.find(KUBELET);
  if (program === undefined) return undefined;
  const { stdout } = await context.host.commands.run({ program, args: ["--version"], timeoutMs: VERSION_TIMEOUT_MS }, context.signal);
  return { program, version: parseKubernetesVersion(stdout) };
}
