/** cordon, drain and uncordon by hand: a MaintenanceRecord of the operator's own, in one commit with its audit record and the cluster's change slot. */
import type { Clock, Log, Random } from "@drover/lifecycle";
import { type MaintainNodeRequest, MaintenanceVerb } from "@drover/proto";
import { auditOperation } from "../audit/audit.ts";
import type { Clusters } from "../cluster/clusters.ts";
import type { MaintenanceRecord, SlotRecord } from "../records.ts";
import { Refused, type Refusal, refuse } from "../refusal.ts";
import type { Catalog, Stored } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import type { MaintenanceCalls } from "./maintenance-calls.ts";

export interface OperatorMaintenanceParts {
  readonly store: Store;
  readonly catalog: Catalog;
  /** undefined where no cluster is taken into care. */
  readonly clusters: () => Pick<Clusters, "kubernetesNodeOf"> | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const DEFAULT_DEADLINE_S = 600;
const MAX_DEADLINE_S = 7 * 86_400;
const MAX_REASON = 1024;
const MAX_ATTEMPTS = 10;

type Verb = "cordon" | "drain" | "uncordon";
const VERBS: { readonly [V in MaintenanceVerb]?: Verb } = {
  [MaintenanceVerb.MAINTENANCE_VERB_CORDON]: "cordon",
  [MaintenanceVerb.MAINTENANCE_VERB_DRAIN]: "drain",
  [MaintenanceVerb.MAINTENANCE_VERB_UNCORDON]: "uncordon",
};
const ACTIONS: { readonly [V in Verb]: string } = { cordon: "CordonNode", drain: "DrainNode", uncordon: "UncordonNode" };

export function operatorMaintenance(parts: OperatorMaintenanceParts): MaintenanceCalls {
  const { store, catalog, clock, random, log } = parts;
  return {
    async maintain(request, actor) {
      const verb = VERBS[request.verb];
      if (verb === undefined) throw new Refused(refuse("InvalidRequest", "verb must be cordon, drain or uncordon"));
      const problem = unfit(request, verb);
      if (problem !== undefined) throw new Refused(refuse("InvalidRequest", problem));
      const node = catalog.nodeRecordOf(request.node)?.value;
      if (node === undefined)
        throw new Refused(refuse("NotFound", `there is no Node ${JSON.stringify(request.node)}; see: drover get nodes`));
      const { nodeId, name } = node;
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
        const atMs = clock.now();
        const audit = { atMs, actor, action: ACTIONS[verb], target: `Node/${name}` } as const;
        const before = await stored<MaintenanceRecord>(store, keys.maintenance(nodeId));
        const change = changeOf(parts, verb, request, { nodeId, name, actor, before });
        if (!change.ok) {
          const message = `${change.reason}: ${change.message}`;
          await store.commit([auditOperation({ ...audit, outcome: "refused", message }, random)]);
          throw new Refused(change);
        }
        const { record } = change;
        // The rollout of a set that names no cluster takes the slot of no cluster, wherever its nodes are.
        const slots = await Promise.all(
          ["", record.cluster].map(async (scope) => {
            const key = keys.changeSlot(scope);
            return putJson(key, { by: actor, atMs } satisfies SlotRecord, (await stored<SlotRecord>(store, key))?.revision ?? 0);
          }),
        );
        const operations: StoreOperation[] = [
          putJson(keys.maintenance(nodeId), record, before?.revision ?? 0),
          ...slots,
          auditOperation(
            { ...audit, outcome: "ok", message: `${record.nodeName} in Cluster/${record.cluster}${because(request)}` },
            random,
          ),
        ];
        if (!(await store.commit(operations)).ok) continue;
        log.info({ node: nodeId, cluster: record.cluster, actor, verb }, "node's maintenance is asked for by an operator");
        return nodeId;
      }
      throw new Refused(refuse("Conflict", `the maintenance of node ${name} keeps changing; try again`));
    },
  };
}

function unfit({ reason, deadlineSeconds }: MaintainNodeRequest, verb: Verb): string | undefined {
  if (reason.length > MAX_REASON) return `reason is longer than ${MAX_REASON} characters`;
  if (deadlineSeconds > MAX_DEADLINE_S) return `deadline_seconds must be 0 (for ${DEFAULT_DEADLINE_S}) to ${MAX_DEADLINE_S}`;
  if (deadlineSeconds !== 0 && verb !== "drain") return `deadline_seconds is of a drain; ${verb} takes none`;
  return undefined;
}

function because({ reason }: MaintainNodeRequest): string {
  return reason === "" ? "" : `: ${reason}`;
}

async function stored<T>(store: Store, key: string): Promise<Stored<T> | undefined> {
  const entry = await store.get(key);
  return entry && { value: readJson(entry) as T, revision: entry.revision };
}

interface Standing {
  readonly nodeId: string;
  readonly name: string;
  readonly actor: string;
  readonly before: Stored<MaintenanceRecord> | undefined;
}

function changeOf(
  parts: OperatorMaintenanceParts,
  verb: Verb,
  { deadlineSeconds }: MaintainNodeRequest,
  { nodeId, name, actor, before }: Standing,
): { readonly ok: true; readonly record: MaintenanceRecord } | Refusal {
  const { catalog, clock } = parts;
  if (catalog.restored !== undefined) {
    return refuse(
      "RestoredFromBackup",
      "all decisions have stopped: the store is a backup; accept it with: drover-coordinator restore --accept",
    );
  }
  const held = before?.value;
  if (held !== undefined && held.owner.kind !== "Operator") return refuse("InUse", heldText(name, held));
  if (verb === "uncordon") {
    if (held !== undefined) return { ok: true, record: { ...held, wanted: "release" } };
    return refuse("NotCordoned", `node ${name} is not cordoned by Drover; what was cordoned by hand: kubectl uncordon`);
  }
  const repair = runningRepair(catalog, nodeId);
  if (repair !== undefined) {
    return refuse("InUse", `Repair/${repair} is at work on node ${name}; wait for its end, or cancel it: drover repair cancel ${repair}`);
  }
  const kubernetes = parts.clusters()?.kubernetesNodeOf(nodeId);
  if (kubernetes === undefined) {
    return refuse("NotInCluster", `node ${name} has no Node in a cluster that is known, so that nothing can be scheduled on it`);
  }
  const startedAtMs = clock.now();
  const { cluster, nodeName } = kubernetes;
  const forMs = (deadlineSeconds === 0 ? DEFAULT_DEADLINE_S : deadlineSeconds) * 1000;
  return {
    ok: true,
    record: {
      nodeId,
      cluster,
      nodeName,
      owner: { kind: "Operator", name: actor.replace(/^operator:/, "") },
      wanted: verb,
      phase: held === undefined || held.phase === "timedOut" || held.wanted === "release" ? "waiting" : held.phase,
      message: "",
      wasCordoned: held?.wasCordoned ?? false,
      startedAtMs,
      deadlineAtMs: startedAtMs + forMs,
    },
  };
}

function heldText(name: string, { owner, phase }: MaintenanceRecord): string {
  const whose = `${owner.kind}/${owner.name}`;
  const how = owner.kind === "Rollout" ? `drover rollout abort ${owner.name}` : `drover repair cancel ${owner.name}`;
  return `node ${name} is held by ${whose} (${phase}), which lets it go when it is done with it; to end that before: ${how}`;
}

const AT_WORK = new Set(["Pending", "Running", "Checking"]);

function runningRepair(catalog: Catalog, nodeId: string): string | undefined {
  for (const { value } of catalog.objects("Repair").values()) {
    if (value.spec.node === nodeId && AT_WORK.has(value.status?.phase ?? "Pending")) return value.metadata.name;
  }
  return undefined;
}
