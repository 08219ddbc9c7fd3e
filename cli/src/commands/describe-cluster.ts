/** A Cluster as `describe` and `cluster adopt` tell it. */
import type { Cluster } from "@drover/api";

export function describeCluster({ metadata, spec, status }: Cluster): string {
  const lines = [`Cluster:     ${metadata.name}`, `Endpoint:    ${spec.endpoint}`];
  for (const [index, hash] of spec.caCertHashes.entries()) lines.push(`${index === 0 ? "CA hashes:" : "          "}   ${hash}`);
  const labels = Object.entries(metadata.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  if (labels.length > 0) lines.push(`Labels:      ${labels.join(", ")}`);
  if (status === undefined) return [...lines, "Status:      none yet"].join("\n");
  const why = [status.reason, status.message].filter((text) => text !== "" && text !== status.phase).join(": ");
  lines.push(
    `Phase:       ${status.phase}${why === "" ? "" : ` (${why})`}`,
    `Kubernetes:  ${status.kubernetesVersion || "-"}`,
    `Nodes ready: ${status.readyNodes} of ${status.nodes} that are ours`,
  );
  if (status.conditions.length > 0) lines.push("Conditions:");
  for (const { type, status: is, reason, message } of status.conditions)
    lines.push(`  ${type}=${is}${reason === "" ? "" : ` ${reason}`}${message === "" ? "" : `: ${message}`}`);
  return lines.join("\n");
}
