/** A machine's facts as labels, so that selectors can name them. */
import type { Facts } from "@drover/proto";

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", x86_64: "amd64", aarch64: "arm64" };

/** Of every label that facts give. */
export const FACT_LABEL_PREFIX = "drover.dev/";

/** Labels under drover.dev/; a fact that is not known has none. */
export function factLabels(facts: Facts): Record<string, string> {
  const labels: Readonly<Record<string, string>> = {
    "drover.dev/arch": ARCHITECTURES[facts.architecture] ?? facts.architecture,
    "drover.dev/containerd": facts.versions["containerd"] ?? "",
    "drover.dev/cpus": facts.cpus > 0 ? String(facts.cpus) : "",
    "drover.dev/hostname": facts.hostname,
    "drover.dev/kernel": facts.kernel,
    "drover.dev/kubelet": facts.versions["kubelet"] ?? "",
    "drover.dev/machine-kind": facts.machineKind,
    "drover.dev/memory-gib": facts.memoryBytes > 0 ? String(Math.round(facts.memoryBytes / 2 ** 30)) : "",
    "drover.dev/os": facts.os.toLowerCase(),
    "drover.dev/os-version": facts.osVersion,
    "drover.dev/product": facts.product,
    "drover.dev/vendor": facts.vendor,
  };
  return Object.fromEntries(
    Object.entries(labels)
      .map(([key, value]): [string, string] => [key, labelValueOf(value)])
      .filter(([, value]) => value !== ""),
  );
}

/** The text with what a label value cannot hold replaced by '-'; may end up empty. */
export function labelValueOf(text: string): string {
  return text
    .replace(/[^A-Za-z0-9_.-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 63)
    .replace(/[^A-Za-z0-9]+$/, "");
}
