/** Whether a maintenance record still has somebody who will ask that the node be let go. Pure. */
import { parseDurationMs } from "@drover/api";
import type { MaintenanceRecord } from "../records.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";

export interface OwnershipParts {
  readonly catalog: Pick<Catalog, "nodeRecords" | "objects">;
  readonly members: Pick<MembershipIndex, "current">;
}

export type Ownership =
  | { readonly state: "owned" }
  /** Nobody lets it go but us. */
  | { readonly state: "orphaned"; readonly why: string }
  /** No set has the node at present: it may be that we do not know its facts yet. */
  | { readonly state: "doubtful"; readonly why: string };

export function ownership({ catalog, members }: OwnershipParts, { nodeId, owner }: MaintenanceRecord): Ownership {
  const node = catalog.nodeRecords.get(nodeId)?.value;
  if (node === undefined) return { state: "orphaned", why: "its Node object was deleted" };
  if (owner.kind === "Operator") return { state: "owned" };
  const object = catalog.objects(owner.kind).get(owner.name)?.value;
  if (object === undefined) return { state: "orphaned", why: `${owner.kind}/${owner.name} was deleted` };
  if (object.kind !== "Rollout") return { state: "owned" };
  if (node.revokedAtMs !== undefined) return { state: "orphaned", why: "it is revoked" };
  const set = members.current().setOf.get(nodeId)?.metadata.name;
  const why = `it is not in NodeSet/${object.spec.nodeSet} any more`;
  if (set === undefined) return { state: "doubtful", why };
  return set === object.spec.nodeSet ? { state: "owned" } : { state: "orphaned", why };
}

const DEFAULT_REVISIT_MS = 5 * 60_000;

/** How long after a drain that timed out it may be tried again; undefined: its owner must ask. */
export function revisitAfterMs({ catalog }: Pick<OwnershipParts, "catalog">, { owner }: MaintenanceRecord): number | undefined {
  if (owner.kind === "Operator") return undefined;
  const drain = owner.kind === "Rollout" ? catalog.objects("Rollout").get(owner.name)?.value.spec.strategy.drain : undefined;
  return drain === undefined ? DEFAULT_REVISIT_MS : parseDurationMs(drain.revisitAfter);
}
