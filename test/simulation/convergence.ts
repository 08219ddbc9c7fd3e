/** What still differs between what the operator asked for and what is: on the machines themselves, and in the coordinator's view of them. */
import type { NodeProfile } from "@drover/api";
import { keys, type DesiredNode } from "@drover/coordinator";
import { hasEnded } from "../../coordinator/src/repair/standing.ts";
import { readReports } from "../../coordinator/src/reportlog/report-count.ts";
import { comparePairs } from "./invariants.ts";
import { manifests, NODE_SET } from "./scenario.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { World } from "./world.ts";

/** @param revision the last that was applied. @returns nothing when all is in sync; else the first few differences, for people */
export async function differences(world: World, revision: number): Promise<readonly string[]> {
  const { coordinator } = world.coordinator;
  if (coordinator === undefined) return ["the coordinator is away"];
  const found: string[] = [];
  const rollouts = [...coordinator.catalog.objects("Rollout").values()].map(({ value }) => value);
  const current = rollouts.filter(({ spec, status }) => spec.nodeSet === NODE_SET && status?.phase !== "Superseded");
  for (const { metadata, status } of current) {
    if (status?.phase !== "Complete") found.push(`${metadata.name} is ${status?.phase} (${status?.reason}): ${status?.message}`);
  }
  if (current.length !== 1) found.push(`${current.length} rollouts are not superseded`);
  for (const { value } of coordinator.catalog.objects("Repair").values()) {
    if (!hasEnded(value))
      found.push(`${value.metadata.name} is ${value.status?.phase} (${value.status?.reason}): ${value.status?.message}`);
  }
  if (found.length > 0) return found;
  const wanted = wantedOf(revision);
  for (const node of world.nodes) {
    if (found.length >= 5) return found;
    const entry = await world.coordinator.store.get(keys.desired(node.nodeId));
    const desired = entry && (JSON.parse(Buffer.from(entry.value).toString()) as DesiredNode);
    const observed = coordinator.fleet.node(node.nodeId);
    const status = node.agent?.status();
    if (desired === undefined || status?.enforced === undefined || comparePairs(status.enforced, desired) !== 0) {
      found.push(`${node.name} does not enforce what is decided for it`);
    } else if (observed?.outcome !== "enforced" || observed.observedGeneration !== desired.generation) {
      found.push(`${node.name} is seen as ${observed?.outcome} ${observed?.observedGeneration}, it enforces ${desired.generation}`);
    } else if (observed.health.verdict !== "healthy") {
      found.push(`${node.name} is seen as ${observed.health.verdict} (${observed.health.reason})`);
    } else if (observed.drift.some(({ isRepaired }) => !isRepaired)) {
      found.push(`${node.name} is seen as drifted`);
    } else if (status.unacknowledgedBatches > 0) {
      found.push(`${node.name} has reports that nobody acknowledged`);
    }
    found.push(...machineDifferences(node, wanted));
  }
  return found.length > 0 ? found : missingReports(world);
}

interface Wanted {
  readonly sysctls: readonly (readonly [string, string])[];
  readonly sandboxImage: string;
  readonly images: readonly { readonly name: string; readonly digest: string }[];
}

function wantedOf(revision: number): Wanted {
  const objects = manifests(revision, { maxUnavailable: 1 });
  const profile = objects.find((each): each is NodeProfile => each.kind === "NodeProfile")!;
  return {
    sysctls: Object.entries(profile.spec.sysctl?.values ?? {}).map(([key, value]) => [key, String(value)]),
    sandboxImage: profile.spec.containerd?.sandboxImage ?? "",
    images: objects.flatMap((each) => (each.kind === "ImageLock" ? each.spec.images : [])),
  };
}

function machineDifferences({ name, machine }: SimulatedNode, { sysctls, sandboxImage, images }: Wanted): string[] {
  const found: string[] = [];
  for (const [key, value] of sysctls) {
    if (machine.kernel.value(key) !== value) found.push(`${name} has ${key} = ${machine.kernel.value(key)}, wanted ${value}`);
  }
  if (machine.files.text("/etc/containerd/config.toml")?.includes(sandboxImage) !== true)
    found.push(`${name} does not use ${sandboxImage}`);
  const present = machine.containerd.images;
  for (const wanted of images) {
    const image = present.find((each) => each.name === wanted.name && each.digest === wanted.digest);
    if (image?.labels["io.cri-containerd.pinned"] !== "pinned") found.push(`${name} has no pinned ${wanted.name}`);
  }
  return found;
}

/** I5 at the end, by the log's own reader: of each outbox every seq that was acknowledged, once. */
async function missingReports({ coordinator, acknowledged }: World): Promise<readonly string[]> {
  const counts = new Map<string, number>();
  for await (const { nodeId, outboxEpoch, seq } of readReports(coordinator.reportLog)) {
    const outbox = `${nodeId}/${outboxEpoch}`;
    if (seq <= (acknowledged.get(outbox) ?? 0)) counts.set(outbox, (counts.get(outbox) ?? 0) + 1);
  }
  return [...acknowledged]
    .filter(([outbox, seq]) => (counts.get(outbox) ?? 0) !== seq)
    .map(([outbox, seq]) => `of ${outbox} ${seq} reports were acknowledged, the log has ${counts.get(outbox) ?? 0} of them`);
}
