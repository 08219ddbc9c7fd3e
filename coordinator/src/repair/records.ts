/** What a repair writes besides its own object: the record that holds its node's place, the slots of its scope, what it leaves in the audit log. Pure. */
import type { Repair } from "@drover/api";
import type { MaintenanceRecord } from "../records.ts";
import type { Stored } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import type { StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";

/** Where the node is in its cluster; undefined: in none. */
export interface InCluster {
  readonly cluster: string;
  readonly nodeName: string;
}

/** The place of a node: cordoned or drained where it is in a cluster, else only held. @param held the record that is there, ours or none */
export function holding(
  nodeId: string,
  repair: string,
  place: InCluster | undefined,
  wanted: { readonly wanted: "cordon" | "drain"; readonly deadlineAtMs: number },
  held: Stored<MaintenanceRecord> | undefined,
  now: number,
): StoreOperation {
  // A cordon, and what maintenance/ found out about it, stays; a drain that timed out begins anew.
  const before = held?.value.phase === "timedOut" ? undefined : held?.value;
  const record: MaintenanceRecord = {
    nodeId,
    cluster: held?.value.cluster ?? place?.cluster ?? "",
    nodeName: held?.value.nodeName ?? place?.nodeName ?? "",
    owner: { kind: "Repair", name: repair },
    phase: before?.phase ?? "waiting",
    message: before?.message ?? "",
    wasCordoned: held?.value.wasCordoned ?? false,
    startedAtMs: before?.startedAtMs ?? now,
    ...wanted,
  };
  return putJson(keys.maintenance(nodeId), record, held?.revision ?? 0);
}

/** Gives the place back: maintenance/ uncordons what it cordoned, and then the record goes; one that only held the place goes now. */
export function releasing({ value, revision }: Stored<MaintenanceRecord>): StoreOperation {
  if (value.cluster === "") return { type: "delete", key: keys.maintenance(value.nodeId), expectedRevision: revision };
  return putJson(keys.maintenance(value.nodeId), { ...value, wanted: "release" }, revision);
}

export function isOfRepair(record: MaintenanceRecord | undefined, repair: string): boolean {
  return record?.owner.kind === "Repair" && record.owner.name === repair;
}

/** Those that a repair writes: of its cluster, which rollouts there write too, and the one of no cluster, by which all repairs are one after the other. */
export function slotScopes(cluster: string): readonly string[] {
  return cluster === "" ? [""] : ["", cluster];
}

const STEM_LENGTH = 54;

/** The next free "<node>-<number>". */
export function nextRepairName(nodeName: string, taken: Iterable<string>): string {
  const stem = nodeName.slice(0, STEM_LENGTH).replace(/[-.]+$/, "");
  let highest = 0;
  for (const name of taken) {
    const number = name.startsWith(`${stem}-`) ? /^\d+$/.exec(name.slice(stem.length + 1)) : null;
    if (number !== null) highest = Math.max(highest, Number(number[0]));
  }
  return `${stem}-${highest + 1}`;
}

export function newRepair(spec: Repair["spec"], name: string, uid: string, createdAt: string): Repair {
  const metadata = { name, uid, generation: 1, creationTimestamp: createdAt };
  return { apiVersion: "drover.dev/v1alpha1", kind: "Repair", metadata, spec };
}
