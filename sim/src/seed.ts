/** What the simulation writes before its coordinator starts: nodes, the set "sim" with its profile, and what they have reported. */
import { createHash } from "node:crypto";
import { publicNkey, type SeedFleet, type SeedNode } from "@drover/coordinator/real";
import { Plan } from "@drover/proto";
import { batchOf, condition, eventOf, factsOf, imagesOf, planFinished, started, stepCondition } from "./fleet/agent-events.ts";
import { derived, nodeIdOf, nodeNameOf, outboxEpochOf } from "./fleet/agent-identity.ts";
import type { SimOptions } from "./sim-options.ts";

export const NODE_SET = "sim";

export interface Seeding {
  readonly fleet: SeedFleet;
  /** The plan of the first node, once it is seeded; the others' differ in the node alone. */
  readonly foundPlan: () => Plan | undefined;
}

export function seedingOf(dataDir: string, options: SimOptions, natsPublicKeyOf: ((index: number) => string) | undefined): Seeding {
  const { agents, seed = 1, start = "converged", zones = 5, racks = Math.ceil(agents / 40), imagesPerNode = 0 } = options;
  const nodes = Array.from({ length: agents }, (_, index): SeedNode => {
    const key = derived(seed, "key", index);
    return {
      nodeId: nodeIdOf(seed, index),
      name: nodeNameOf(index),
      labels: { sim: "true", "topology.kubernetes.io/zone": `zone-${index % zones}`, rack: `rack-${index % racks}` },
      natsPublicKey: natsPublicKeyOf?.(index) ?? publicNkey("user", key),
      keyFingerprint: createHash("sha256").update(key).digest("hex"),
    };
  });
  let found: Plan | undefined;
  const atMs = Date.now() - 3_600_000;
  const isConverged = start === "converged";
  const fleet: SeedFleet = {
    dataDir,
    nodes,
    objects: isConverged ? objectsOf(options) : [],
    isConverged,
    nodeSetOf: () => NODE_SET,
    reportsOf: (index, desired) => {
      if (desired === undefined) return [];
      found ??= Plan.decode(Buffer.from(desired.plan, "base64"));
      const plan = found;
      const inSync = condition("InSync", true, "Enforced", atMs);
      const told = plan.steps.map(({ spec }) => stepCondition(spec?.$case ?? "", atMs)).filter((body) => body !== undefined);
      const bodies = [started(index, 1), factsOf(index), planFinished(plan, { outcome: "enforced" }), inSync, ...told];
      if (imagesPerNode > 0) bodies.push(imagesOf(index, imagesPerNode));
      const events = bodies.map((body) => eventOf(atMs, plan, body));
      return [batchOf(desired.nodeId, outboxEpochOf(seed, index, 0), 1, events)];
    },
  };
  return { fleet, foundPlan: () => found };
}

/** What set "sim" is rolled out to: live changes alone, so that a rollout of the whole fleet at once may be asked for. */
export function objectsOf({ probePort }: Pick<SimOptions, "probePort">, somaxconn = "4096"): readonly object[] {
  const apiVersion = "drover.dev/v1alpha1";
  return [
    {
      apiVersion,
      kind: "NodeProfile",
      metadata: { name: "sim" },
      spec: { sysctl: { values: { "fs.inotify.max_user_watches": somaxconn } } },
    },
    {
      apiVersion,
      kind: "NodeSet",
      metadata: { name: NODE_SET },
      spec: {
        selector: { matchLabels: { sim: "true" } },
        profile: "sim",
        ...(probePort === undefined ? {} : { probePort }),
      },
    },
  ];
}
