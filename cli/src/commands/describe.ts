/** `drover describe KIND [NAME] [-l SELECTOR]`: all there is to know, equal machines told once. */
import type { DroverObject, Node } from "@drover/api";
import { stringify } from "yaml";
import { FACT_LABELS } from "../output/conditions.ts";
import { changeLine } from "../output/step-diffs.ts";
import { age, bytesText } from "../output/table.ts";
import { decodeObject, kindFrom, type Session, targetFrom } from "../session.ts";
import { describeCluster } from "./describe-cluster.ts";
import { describeRepair } from "./describe-repair.ts";
import { statusText } from "./rollout-status.ts";

export async function describe(session: Session, words: readonly string[], selector: string): Promise<void> {
  const isOne = selector === "" && (words.length > 1 || (words[0] ?? "").includes("/"));
  let objects: DroverObject[];
  if (isOne) {
    const { kind, name } = targetFrom(words);
    objects = [decodeObject((await session.connect().call("getObject", { kind, name })).object)];
  } else {
    const kind = kindFrom(words[0] ?? "");
    objects = (await session.connect().call("listObjects", { kind, labelSelector: selector })).objects.map(decodeObject);
  }
  if (objects.length === 0) {
    session.warn("nothing found");
    return;
  }
  const nodes = objects.filter((object) => object.kind === "Node");
  const blocks =
    nodes.length === objects.length
      ? describeNodes(nodes, session.nowMs())
      : objects.map((object) => describeOther(object, session.nowMs()));
  session.print(blocks.join("\n\n"));
}

/** Differs on every machine, and says nothing that its name does not. */
const HOSTNAME_LABEL = `${FACT_LABELS}hostname`;

/** Machines that differ only in name, id, addresses and times are one block. */
export function describeNodes(nodes: readonly Node[], nowMs: number): string[] {
  const groups = new Map<string, Node[]>();
  for (const node of nodes) {
    const key = nodeText(node);
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  return [...groups].map(([text, equal]) => {
    const names = equal.map((node) => node.metadata.name);
    const head = names.length === 1 ? `Node:        ${names[0]}` : `Nodes:       ${names.join(", ")} (${names.length} equal machines)`;
    const individual = equal.map(
      (node) =>
        `  ${node.metadata.name}: id ${node.metadata.uid ?? "-"}, seen ${age(node.status?.lastHeartbeatTime, nowMs)} ago, ${addresses(node)}${inCluster(node)}`,
    );
    return [head, text, "Machines:", ...individual].join("\n");
  });
}

function addresses(node: Node): string {
  const nics = (node.status?.facts?.["nics"] ?? []) as readonly { name: string; addresses: readonly string[] }[];
  return nics.flatMap((nic) => nic.addresses).join(" ") || "no address known";
}

/** Its name there is its own; what the cluster says of it may be the same on many machines. */
function inCluster({ status }: Node): string {
  return status?.kubernetes === undefined ? "" : `, ${status.kubernetes.cluster}/${status.kubernetes.nodeName}`;
}

function kubernetesLines({ kubernetes }: NonNullable<Node["status"]>): string[] {
  if (kubernetes === undefined) return [];
  const { cluster, ready, reason, message, kubeletVersion } = kubernetes;
  return [
    "Kubernetes:",
    `  Cluster:   ${cluster}`,
    `  Ready:     ${ready}${reason === "" ? "" : ` ${reason}`}${message === "" ? "" : `: ${message}`}`,
    `  Kubelet:   ${kubeletVersion || "-"}`,
  ];
}

function nodeText(node: Node): string {
  const { status } = node;
  const labels = Object.entries(node.metadata.labels ?? {}).filter(([key]) => key !== HOSTNAME_LABEL);
  const labelText = (areFacts: boolean): string =>
    labels
      .filter(([key]) => key.startsWith(FACT_LABELS) === areFacts)
      .map(([key, value]) => `${key}=${value}`)
      .join(", ") || "-";
  const lines = [`Labels:      ${labelText(false)}`, `Facts:       ${labelText(true)}`];
  if (status === undefined) return [...lines, "Status:      none yet"].join("\n");
  lines.push(
    `Phase:       ${status.phase}`,
    `Health:      ${status.health}${status.healthReason === "" ? "" : ` (${status.healthReason})`}`,
    `Set:         ${status.nodeSet || "-"}`,
    `Generation:  ${status.observedGeneration} observed, ${status.desiredGeneration} desired (plan epoch ${status.planEpoch})`,
    `Revision:    ${status.enforcedRevision || "-"}${status.desiredRevision === status.enforcedRevision ? "" : ` (desired ${status.desiredRevision || "-"})`}`,
  );
  const facts = status.facts ?? {};
  const memory = Number(facts["memoryBytes"] ?? 0);
  if (Object.keys(facts).length > 0) {
    lines.push(
      `Machine:     ${[facts["machineKind"], facts["vendor"], facts["product"]].filter(Boolean).join(" ")}, ${String(facts["cpus"])} x ${String(facts["cpuModel"])}, ${bytesText(memory)} memory`,
      `System:      ${String(facts["os"])} ${String(facts["osVersion"])}, kernel ${String(facts["kernel"])}, ${String(facts["architecture"])}`,
      `Versions:    ${
        Object.entries((facts["versions"] ?? {}) as Record<string, string>)
          .map(([program, version]) => `${program} ${version}`)
          .join(", ") || "-"
      }`,
    );
    const disks = (facts["disks"] ?? []) as readonly { name: string; sizeBytes: number; kind: string }[];
    if (disks.length > 0)
      lines.push(`Disks:       ${disks.map((disk) => `${disk.name} ${bytesText(disk.sizeBytes)} ${disk.kind}`).join(", ")}`);
  }
  lines.push(...kubernetesLines(status));
  lines.push("Steps:");
  for (const step of status.steps) {
    lines.push(`  ${step.step}: ${step.outcome}${step.reason === "" ? "" : ` ${step.reason}: ${step.message}`}`);
    lines.push(...step.changes.map((change) => `    ${changeLine(change)}`));
  }
  lines.push("Conditions:");
  for (const condition of status.conditions)
    lines.push(
      `  ${condition.type}=${condition.status}${condition.reason === "" ? "" : ` ${condition.reason}`}${condition.message === "" ? "" : `: ${condition.message}`}`,
    );
  if (status.drift.length > 0) {
    lines.push("Drift:");
    for (const drift of status.drift) {
      lines.push(`  ${drift.step}${drift.repaired ? " (repaired)" : " (open: needs a disruption slot)"}`);
      lines.push(...drift.changes.map((change) => `    ${changeLine(change)}`));
    }
  }
  if (status.images !== undefined && status.images.length > 0) {
    lines.push("Images:");
    for (const image of status.images) lines.push(`  ${image.name} ${bytesText(image.size)}${image.pinned ? " pinned" : ""}`);
  }
  return lines.join("\n");
}

function describeOther(object: DroverObject, nowMs: number): string {
  if (object.kind === "Cluster") return describeCluster(object);
  if (object.kind === "Repair") return describeRepair(object, nowMs);
  const head = `${object.kind}: ${object.metadata.name}`;
  return object.kind === "Rollout"
    ? `${head}\n${statusText(object)}\n${stringify(object.spec).trimEnd()}`
    : `${head}\n${stringify({ ...object, apiVersion: undefined, kind: undefined }).trimEnd()}`;
}
