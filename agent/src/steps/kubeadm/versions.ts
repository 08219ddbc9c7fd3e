/** Versions of Kubernetes' programs, and which form of kubeadm's configuration each reads. Pure. */

export interface KubernetesVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/** @param text "v1.20.2", "Kubernetes v1.31.0-rc.1"; undefined: no version in it */
export function parseKubernetesVersion(text: string): KubernetesVersion | undefined {
  const match = /\bv?(\d+)\.(\d+)\.(\d+)/.exec(text);
  if (match === null) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3]) };
}

export function isAtLeast({ major, minor }: KubernetesVersion, wantedMinor: number): boolean {
  return major > 1 || (major === 1 && minor >= wantedMinor);
}

export function formatVersion({ major, minor, patch }: KubernetesVersion): string {
  return `${major}.${minor}.${patch}`;
}

export type KubeadmApi = "v1beta2" | "v1beta3" | "v1beta4";

/**
 * v1beta2 from 1.15, v1beta3 from 1.22, v1beta4 from 1.31; each release reads at least the one before as well.
 * undefined: older than that.
 */
export function kubeadmApiOf(version: KubernetesVersion): KubeadmApi | undefined {
  if (isAtLeast(version, 31)) return "v1beta4";
  if (isAtLeast(version, 22)) return "v1beta3";
  return isAtLeast(version, 15) ? "v1beta2" : undefined;
}
