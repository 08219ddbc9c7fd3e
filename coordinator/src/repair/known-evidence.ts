/** What the coordinator itself knows of a node, as a bundle: for a node that cannot be asked. */
import { gzipSync } from "node:zlib";
import type { Clock } from "@drover/lifecycle";
import type { FleetView } from "../fleet/fleet.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { View } from "../resources/view.ts";
import { tarOf } from "./tar.ts";

export interface KnownEvidenceParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly view: Pick<View, "see">;
  readonly clock: Clock;
  /** What a second path said of the node last. */
  readonly opinionOf: (nodeId: string) => string;
}

/** @param why the node did not give it itself */
export function knownEvidence({ catalog, fleet, view, clock, opinionOf }: KnownEvidenceParts, nodeId: string, why: string): Buffer {
  const now = clock.now();
  const observed = fleet.node(nodeId);
  const beatAgeMs = observed?.lastBeatAtMs === undefined ? undefined : clock.monotonicMs() - observed.lastBeatAtMs;
  const desired = catalog.desired.get(nodeId)?.value;
  const health = {
    ...observed?.health,
    secondPath: opinionOf(nodeId),
    secondsSinceLastBeat: beatAgeMs === undefined ? null : Math.round(beatAgeMs / 1000),
    lastReport: observed === undefined || observed.lastReportUnixMs === 0 ? null : new Date(observed.lastReportUnixMs).toISOString(),
  };
  const decided = desired && {
    planEpoch: desired.planEpoch,
    generation: desired.generation,
    revision: desired.revision,
    rollout: desired.rollout,
    decidedAt: new Date(desired.decidedAtMs).toISOString(),
  };
  const files = [
    file("README", `The node was not reached at ${new Date(now).toISOString()} (${why}). This is what its coordinator knows of it.\n`),
    // As drover get node shows it: conditions, steps with the tails of their output, drift, facts, Kubernetes.
    file("node.json", json(view.see("Node", nodeId)?.object ?? null)),
    file("health.json", json(health)),
    file("decided.json", json(decided ?? null)),
    file("maintenance.json", json(catalog.maintenances.get(nodeId)?.value ?? null)),
  ];
  return gzipSync(tarOf(files, now));
}

function file(name: string, text: string): { readonly name: string; readonly content: Buffer } {
  return { name, content: Buffer.from(text) };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
