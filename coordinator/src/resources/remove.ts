/** Deleting one object: refused while something needs it; a NodeSet takes its Rollouts along, a Cluster its kubeconfig, a Node (revoked before) its record. */
import type { DroverObject, Kind } from "@drover/api";
import type { Clock, Random } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { hasEnded } from "../repair/standing.ts";
import { keys } from "../store/keys.ts";
import { MAX_OPERATIONS } from "../store/operations.ts";
import type { StoreOperation } from "../store/store.ts";
import { checkVersion } from "./apply.ts";
import type { Catalog, Stored } from "./catalog.ts";

export interface RemoveRequest {
  readonly kind: Kind;
  readonly name: string;
  /** 0: not checked. */
  readonly expectedResourceVersion: number;
  /** As in the audit log. */
  readonly actor: string;
}

export interface RemovePlan {
  readonly ok: true;
  readonly object: Stored<DroverObject>;
  readonly operations: readonly StoreOperation[];
}

/** What deleting would do; writes nothing. */
export function planRemove(
  parts: { readonly catalog: Catalog; readonly clock: Clock; readonly random: Random },
  request: RemoveRequest,
): RemovePlan | Refusal {
  const { catalog, clock, random } = parts;
  const { kind, name } = request;
  const object = catalog.object(kind, name);
  if (object === undefined) return refuse("NotFound", `there is no ${kind} ${JSON.stringify(name)}`);
  const refusal = checkVersion(kind, name, object, request.expectedResourceVersion) ?? needed(catalog, object.value);
  if (refusal !== undefined) return refusal;
  const operations: StoreOperation[] = [
    { type: "delete", key: keys.object(kind, name), expectedRevision: object.revision },
    ...belongings(catalog, object.value),
    auditOperation(
      { atMs: clock.now(), actor: request.actor, action: "DeleteObject", target: `${kind}/${name}`, outcome: "ok", message: "" },
      random,
    ),
  ];
  return { ok: true, object, operations };
}

function needed(catalog: Catalog, object: DroverObject): Refusal | undefined {
  const { name } = object.metadata;
  switch (object.kind) {
    case "NodeProfile": {
      const users = [...catalog.objects("NodeSet").values()].filter(({ value }) => value.spec.profile === name);
      return inUse(
        `NodeProfile/${name}`,
        users.map(({ value }) => `NodeSet/${value.metadata.name}`),
      );
    }
    case "ImageLock": {
      const users = [...catalog.objects("NodeProfile").values()].filter(({ value }) => value.spec.images?.lock === name);
      return inUse(
        `ImageLock/${name}`,
        users.map(({ value }) => `NodeProfile/${value.metadata.name}`),
      );
    }
    case "Cluster": {
      const users = [...catalog.objects("NodeSet").values()].filter(({ value }) => value.spec.cluster === name);
      return inUse(
        `Cluster/${name}`,
        users.map(({ value }) => `NodeSet/${value.metadata.name}`),
      );
    }
    case "Node": {
      const record = catalog.nodeRecords.get(object.metadata.uid ?? "");
      if (record === undefined || record.value.revokedAtMs !== undefined) return undefined;
      return refuse("NotRevoked", `Node/${name} still has a valid identity; revoke it first`);
    }
    case "Rollout":
      if (object.status?.phase === "Superseded") return undefined;
      return refuse(
        "InUse",
        `Rollout/${name} is what moves NodeSet/${object.spec.nodeSet}; delete the NodeSet, or apply a change that supersedes it`,
      );
    case "MaintenanceWindow": {
      const users = [...catalog.objects("NodeSet").values()].filter(({ value }) => value.spec.strategy.windows?.includes(name) === true);
      return inUse(
        `MaintenanceWindow/${name}`,
        users.map(({ value }) => `NodeSet/${value.metadata.name}`),
      );
    }
    case "Repair":
      if (hasEnded(object)) return undefined;
      return refuse("InUse", `Repair/${name} is at work; wait for its end, or cancel it: drover repair cancel ${name}`);
    case "NodeSet": {
      const waiting = [...catalog.objects("NodeSet").values()].filter(({ value }) => value.spec.after?.includes(name) === true);
      return inUse(
        `NodeSet/${name}`,
        waiting.map(({ value }) => `NodeSet/${value.metadata.name} (spec.after)`),
      );
    }
    case "JoinToken":
      return undefined;
  }
}

function inUse(target: string, users: readonly string[]): Refusal | undefined {
  if (users.length === 0) return undefined;
  const some = users.slice(0, 5).join(", ");
  return refuse(
    "InUse",
    `${target} is used by ${some}${users.length > 5 ? ` and ${users.length - 5} more` : ""}; change or delete those first`,
  );
}

function belongings(catalog: Catalog, object: DroverObject): StoreOperation[] {
  if (object.kind === "Node") {
    const nodeId = object.metadata.uid ?? "";
    const record = catalog.nodeRecords.get(nodeId);
    if (record === undefined) return [];
    return [
      { type: "delete", key: keys.node(nodeId), expectedRevision: record.revision },
      { type: "delete", key: keys.desired(nodeId) },
      { type: "delete", key: keys.expectedNode(nodeId) },
    ];
  }
  if (object.kind === "Cluster") return [{ type: "delete", key: keys.secret("kubeconfig", object.metadata.name) }];
  if (object.kind === "NodeSet") {
    // The newest goes last of what fits: older ones that stay are superseded and move nothing.
    return [...catalog.objects("Rollout").values()]
      .filter(({ value }) => value.spec.nodeSet === object.metadata.name)
      .sort((a, b) => b.revision - a.revision)
      .slice(0, MAX_OPERATIONS - 2)
      .map(({ value }) => ({ type: "delete", key: keys.object("Rollout", value.metadata.name) }));
  }
  return [];
}
