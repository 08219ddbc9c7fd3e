/** Decisions as operations on the store, each with the revision that was read: whoever decided at once loses. Pure. */
import type { DesiredMaking } from "../dispatch/desired.ts";
import type { DesiredNode, MaintenanceRecord, SlotRecord } from "../records.ts";
import type { Catalog } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import type { StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import type { Decision } from "./model.ts";

/** The Rollout and the slot come besides; a commit holds 100. */
const MAX_DECISIONS_PER_COMMIT = 90;

export interface WritesInput {
  readonly catalog: Pick<Catalog, "desired" | "maintenances" | "changeSlots">;
  readonly rolloutName: string;
  /** Whose slot is taken: the cluster, or "". */
  readonly scope: string;
  /** The node in its cluster; undefined: it is in none. */
  readonly kubernetesNodeOf: (nodeId: string) => { readonly cluster: string; readonly nodeName: string } | undefined;
  readonly make: (nodeId: string) => DesiredMaking;
  readonly nowMs: number;
}

export interface Writes {
  readonly operations: readonly StoreOperation[];
  readonly moved: readonly DesiredNode[];
  /** There was more than a commit holds. */
  readonly isCut: boolean;
}

export function writesOf(decisions: readonly Decision[], input: WritesInput): Writes {
  const { catalog, scope, nowMs } = input;
  const operations: StoreOperation[] = [];
  const moved: DesiredNode[] = [];
  let bringsIntoChange = false;
  let isCut = false;
  for (const decision of decisions) {
    if (decision.type !== "move" && decision.type !== "settle" && decision.type !== "drain" && decision.type !== "release") continue;
    if (operations.length >= MAX_DECISIONS_PER_COMMIT) {
      isCut = true;
      break;
    }
    const { nodeId } = decision;
    const stored = catalog.desired.get(nodeId);
    switch (decision.type) {
      case "settle":
        if (stored === undefined) continue;
        operations.push(putJson(keys.desired(nodeId), { ...stored.value, enforcedAtMs: nowMs }, stored.revision));
        break;
      case "move": {
        const made = input.make(nodeId);
        if (!made.ok) continue;
        moved.push(made.desired);
        operations.push(putJson(keys.desired(nodeId), made.desired, stored?.revision ?? 0));
        bringsIntoChange = true;
        break;
      }
      case "drain": {
        const operation = drain(decision.nodeId, decision.deadlineAtMs, input);
        if (operation === undefined) continue;
        operations.push(operation);
        bringsIntoChange = true;
        break;
      }
      case "release": {
        const record = catalog.maintenances.get(nodeId);
        if (record === undefined || !isOurs(record.value, input.rolloutName)) continue;
        if (record.value.wanted === "release") continue;
        operations.push(putJson(keys.maintenance(nodeId), { ...record.value, wanted: "release" }, record.revision));
      }
    }
  }
  if (bringsIntoChange) {
    const slot: SlotRecord = { by: `Rollout/${input.rolloutName}`, atMs: nowMs };
    operations.push(putJson(keys.changeSlot(scope), slot, catalog.changeSlots.get(slotName(scope))?.revision ?? 0));
  }
  return { operations, moved, isCut };
}

/** Maintenance that another rollout of the same set began goes on as ours: nobody else would ever let the node go. */
export function takeovers(
  catalog: Pick<Catalog, "maintenances">,
  rolloutName: string,
  isMember: (nodeId: string) => boolean,
): readonly StoreOperation[] {
  const operations: StoreOperation[] = [];
  for (const { value: record, revision } of catalog.maintenances.values()) {
    if (record.owner.kind !== "Rollout" || record.owner.name === rolloutName || !isMember(record.nodeId)) continue;
    if (operations.length >= MAX_DECISIONS_PER_COMMIT) break;
    const taken: MaintenanceRecord = { ...record, owner: { kind: "Rollout", name: rolloutName } };
    operations.push(putJson(keys.maintenance(record.nodeId), taken, revision));
  }
  return operations;
}

function drain(
  nodeId: string,
  deadlineAtMs: number,
  { catalog, rolloutName, kubernetesNodeOf, nowMs }: WritesInput,
): StoreOperation | undefined {
  const before = catalog.maintenances.get(nodeId);
  if (before !== undefined && !isOurs(before.value, rolloutName)) return undefined;
  const place = kubernetesNodeOf(nodeId);
  if (place === undefined) return undefined;
  const record: MaintenanceRecord = {
    nodeId,
    cluster: place.cluster,
    nodeName: place.nodeName,
    owner: { kind: "Rollout", name: rolloutName },
    wanted: "drain",
    phase: "waiting",
    message: "",
    wasCordoned: before?.value.wasCordoned ?? false,
    startedAtMs: nowMs,
    deadlineAtMs,
  };
  return putJson(keys.maintenance(nodeId), record, before?.revision ?? 0);
}

function isOurs({ owner }: MaintenanceRecord, rolloutName: string): boolean {
  return owner.kind === "Rollout" && owner.name === rolloutName;
}

/** As the catalog names it. */
function slotName(scope: string): string {
  return keys.changeSlot(scope).slice(keys.changeSlots.length);
}
