/** Decisions as operations on the store, each with the revision that was read: whoever decided at once loses. Pure. */
import type { DesiredMaking } from "../dispatch/desired.ts";
import type { DesiredNode, MaintenanceRecord, SlotRecord } from "../records.ts";
import type { Catalog, Stored } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import { MAX_OPERATIONS } from "../store/operations.ts";
import type { StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import type { Decision } from "./model.ts";

/** The Rollout and the slot come besides. */
const MAX_DECISIONS_PER_COMMIT = MAX_OPERATIONS - 10;

export interface WritesInput {
  readonly catalog: Pick<Catalog, "maintenances">;
  readonly rolloutName: string;
  /** The node in its cluster; undefined: it is in none. */
  readonly kubernetesNodeOf: (nodeId: string) => { readonly cluster: string; readonly nodeName: string } | undefined;
  readonly make: (nodeId: string) => DesiredMaking;
  readonly nowMs: number;
}

export interface Writes {
  readonly operations: readonly StoreOperation[];
  readonly moved: readonly DesiredNode[];
  /** The slot is to be taken in the same commit. */
  readonly bringsIntoChange: boolean;
}

export function slotOf(rolloutName: string, nowMs: number): SlotRecord {
  return { by: `Rollout/${rolloutName}`, atMs: nowMs };
}

type Writing = Extract<Decision, { readonly type: "move" | "settle" | "drain" | "release" }>;

/** What is decided for one node, with what its record was at that moment. */
export interface Due {
  readonly decision: Writing;
  readonly desired: Stored<DesiredNode> | undefined;
  readonly maintenance: Stored<MaintenanceRecord> | undefined;
}

/** More than is written before what a look saw is too old. */
const MAX_PORTIONS = 10;

/** What is to be written, in the portions that a commit holds; of very much only the first, and then isCut. */
export function portionsOf(
  decisions: readonly Decision[],
  { desired, maintenances }: Pick<Catalog, "desired" | "maintenances">,
): { readonly portions: readonly Due[][]; readonly isCut: boolean } {
  const portions: Due[][] = [];
  for (const decision of decisions) {
    if (decision.type !== "move" && decision.type !== "settle" && decision.type !== "drain" && decision.type !== "release") continue;
    const due = { decision, desired: desired.get(decision.nodeId), maintenance: maintenances.get(decision.nodeId) };
    const last = portions.at(-1);
    if (last !== undefined && last.length < MAX_DECISIONS_PER_COMMIT) last.push(due);
    else if (portions.length < MAX_PORTIONS) portions.push([due]);
    else return { portions, isCut: true };
  }
  return { portions, isCut: false };
}

/** Whether each record is still what it was when this was decided. */
export function isUntouched(portion: readonly Due[], { desired, maintenances }: Pick<Catalog, "desired" | "maintenances">): boolean {
  return portion.every(
    ({ decision: { nodeId }, ...due }) =>
      desired.get(nodeId)?.revision === due.desired?.revision && maintenances.get(nodeId)?.revision === due.maintenance?.revision,
  );
}

export function writesOf(portion: readonly Due[], input: WritesInput): Writes {
  const { catalog, nowMs } = input;
  const operations: StoreOperation[] = [];
  const moved: DesiredNode[] = [];
  let bringsIntoChange = false;
  for (const { decision, desired: stored } of portion) {
    const { nodeId } = decision;
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
  return { operations, moved, bringsIntoChange };
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

/** As the catalog names it. @param scope the cluster, or "" */
export function slotName(scope: string): string {
  return keys.changeSlot(scope).slice(keys.changeSlots.length);
}
