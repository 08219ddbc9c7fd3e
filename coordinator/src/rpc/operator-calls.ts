/** What operators can ask of the coordinator, on ports only: the same over gRPC, in a test and in the simulation. */
import { type Labels, matchesSelector, type NodeSet } from "@drover/api";
import type { Clock, Log, Random } from "@drover/lifecycle";
import type { AdoptClusterRequest, CreateJoinTokenRequest, CreateJoinTokenResponse, DryRunOnNodesResponse } from "@drover/proto";
import { listAudit } from "../audit/audit.ts";
import type { Bus } from "../bus/bus.ts";
import type { Clusters } from "../cluster/clusters.ts";
import { makeDesired } from "../dispatch/desired.ts";
import type { Sessions } from "../dispatch/sessions.ts";
import type { FleetView } from "../fleet/fleet.ts";
import { createJoinToken } from "../identity/join-tokens.ts";
import { rejoinNode } from "../identity/rejoin.ts";
import { revokeNode } from "../identity/revocation.ts";
import type { MaintenanceCalls } from "../maintenance/maintenance-calls.ts";
import type { AuditEntry } from "../records.ts";
import { Refused, refuse } from "../refusal.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import type { RepairCalls } from "../repair/repair-calls.ts";
import type { RolloutCalls } from "../rollout/rollout-calls.ts";
import type { Resources } from "../resources/resources.ts";
import { asIfApplied } from "../resources/as-if-applied.ts";
import { type Content, resolveSet } from "../resources/revisions.ts";
import type { View } from "../resources/view.ts";
import type { WatchEvent, WatchRequest } from "../resources/watch.ts";
import type { Store } from "../store/store.ts";
import { adoptCluster, type Adopted } from "./adopt-cluster.ts";
import type { CoordinatorStatus } from "./coordinator-status.ts";

export interface OperatorCallsParts {
  readonly store: Store;
  readonly bus: Bus;
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly view: View;
  readonly resources: Resources;
  readonly sessions: Sessions;
  readonly members: MembershipIndex;
  /** undefined where no cluster is taken into care. */
  readonly clusters: Pick<Clusters, "adopt"> | undefined;
  readonly watch: (request: WatchRequest, signal: AbortSignal) => AsyncIterable<WatchEvent>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly status: () => CoordinatorStatus;
  readonly rollouts: RolloutCalls;
  readonly maintenance: MaintenanceCalls;
  readonly repairs: RepairCalls;
  /** What new machines are told; undefined where nobody enrols. */
  readonly enrolment: (() => { readonly caPin: string; readonly endpoint: string }) | undefined;
}

export interface OperatorCalls {
  readonly view: View;
  readonly resources: Resources;
  readonly sessions: Sessions;
  /** How well the coordinator sees the fleet now. */
  status(): CoordinatorStatus;
  watch(request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchEvent>;
  /** @param node name or id. @throws Refused NotFound */
  nodeIdOf(node: string): string;
  /** @throws Refused */
  createJoinToken(request: CreateJoinTokenRequest, actor: string): Promise<CreateJoinTokenResponse>;
  /** @returns the node's id. @throws Refused */
  revokeNode(node: string, actor: string, reason: string): Promise<string>;
  /** The kubeconfig's bytes in the request are gone afterwards. @throws Refused */
  adoptCluster(request: AdoptClusterRequest, actor: string): Promise<Adopted>;
  /** @returns the node's id, and how often it has been asked for. @throws Refused */
  rejoinNode(node: string, actor: string): Promise<{ readonly nodeId: string; readonly rejoin: number }>;
  readonly rollouts: RolloutCalls;
  readonly maintenance: MaintenanceCalls;
  readonly repairs: RepairCalls;
  /** @param target "Kind/name"; empty: of everything */
  listAudit(limit: number, actor: string, target: string): Promise<readonly AuditEntry[]>;
  /** One answer per node of the sets that these manifests touch. @throws Refused */
  dryRunOnNodes(manifests: readonly Uint8Array[], maxNodesPerSet: number, signal: AbortSignal): AsyncIterable<DryRunOnNodesResponse>;
}

/** Nodes asked at once. */
const DRY_RUNS_AT_ONCE = 8;
const MAX_MANIFESTS = 100;

export function operatorCalls(parts: OperatorCallsParts): OperatorCalls {
  const { store, bus, catalog, view, resources, sessions, members, watch, clock, random, log, enrolment } = parts;
  return {
    view,
    resources,
    sessions,
    status: parts.status,
    watch,
    nodeIdOf(node) {
      const record = catalog.nodeRecordOf(node);
      if (record === undefined) throw new Refused(refuse("NotFound", `there is no Node ${JSON.stringify(node)}; see: drover get nodes`));
      return record.value.nodeId;
    },
    async createJoinToken({ ttlSeconds, labels, description }, actor) {
      if (enrolment === undefined) throw new Refused(refuse("NotReady", "no machine can enrol here"));
      const created = await createJoinToken({ store, clock, random }, { ttlSeconds, labels, description, createdBy: actor });
      if (!created.ok) throw new Refused(created);
      return { joinToken: created.token.reveal(), id: created.id, expiresAtMs: created.expiresAtMs, ...enrolment() };
    },
    async revokeNode(node, actor, reason) {
      const revocation = await revokeNode({ store, bus, clock, random, log }, node, actor, reason);
      if (!revocation.ok) throw new Refused(revocation.reason === "UnknownNode" ? refuse("NotFound", revocation.message) : revocation);
      sessions.cut(revocation.nodeId, new Refused(refuse("Revoked", `node ${revocation.nodeId} is revoked`)));
      return revocation.nodeId;
    },
    adoptCluster: (request, actor) => adoptCluster(parts, request, actor),
    async rejoinNode(node, actor) {
      const record = catalog.nodeRecordOf(node)?.value;
      if (record === undefined) throw new Refused(refuse("NotFound", `there is no Node ${JSON.stringify(node)}; see: drover get nodes`));
      const { nodeId } = record;
      const set = members.current().setOf.get(nodeId);
      const desired = catalog.desired.get(nodeId)?.value;
      const standing = { nodeSet: set?.metadata.name, cluster: set?.spec.cluster, desired };
      const rejoin = await rejoinNode({ store, clock, random, log }, nodeId, standing, actor);
      if (!rejoin.ok) throw new Refused(rejoin);
      return rejoin;
    },
    rollouts: parts.rollouts,
    maintenance: parts.maintenance,
    repairs: parts.repairs,
    listAudit: (limit, actor, target) => listAudit(store, { limit, actor, target }),
    async *dryRunOnNodes(manifests, maxNodesPerSet, signal) {
      const asked = nodesToAsk(parts, manifests, maxNodesPerSet);
      // In groups rather than all at once: each answer may be as large as a plan's diff.
      for (let start = 0; start < asked.length; start += DRY_RUNS_AT_ONCE) {
        yield* await Promise.all(asked.slice(start, start + DRY_RUNS_AT_ONCE).map((each) => askNode(parts, each, signal)));
      }
    },
  };
}

interface Asked {
  readonly nodeId: string;
  readonly name: string;
  readonly set: NodeSet;
  readonly content: Content;
}

function nodesToAsk({ catalog, view }: OperatorCallsParts, manifests: readonly Uint8Array[], maxNodesPerSet: number): Asked[] {
  if (manifests.length === 0 || manifests.length > MAX_MANIFESTS) {
    throw new Refused(refuse("InvalidRequest", `manifests must be 1 to ${MAX_MANIFESTS}`));
  }
  const applied = asIfApplied(catalog, manifests);
  const nodes = view.list("Node", undefined).filter(({ object }) => object.kind === "Node" && object.status?.phase !== "Revoked");
  return [...applied.sets.values()]
    .filter((set) => applied.isTouched(set))
    .flatMap((set) =>
      nodes
        .filter(({ labels }: { readonly labels: Labels }) => matchesSelector(set.spec.selector, labels))
        .slice(0, maxNodesPerSet)
        .map(({ object }) => ({
          nodeId: object.metadata.uid ?? "",
          name: object.metadata.name,
          set,
          content: applied.content,
        })),
    );
}

async function askNode(parts: OperatorCallsParts, asked: Asked, signal: AbortSignal): Promise<DryRunOnNodesResponse> {
  const { catalog, clock, fleet, sessions } = parts;
  const { nodeId, name, set } = asked;
  const answer = (reason: string, message: string): DryRunOnNodesResponse => ({ nodeId, nodeName: name, steps: [], reason, message });
  const resolved = resolveSet(set, asked.content);
  if (!resolved.ok) return answer("PlanNotPossible", resolved.message);
  const made = makeDesired({
    nodeId,
    nodeSet: set.metadata.name,
    rollout: "",
    profile: resolved.profile,
    locks: resolved.locks,
    membership: resolved.membership && { ...resolved.membership, rejoin: catalog.nodeRecords.get(nodeId)?.value.rejoin ?? 0 },
    facts: fleet.node(nodeId)?.facts,
    planEpoch: catalog.planEpoch.value,
    before: catalog.desired.get(nodeId)?.value,
    isBeforeEnforced: false,
    nowMs: clock.now(),
  });
  if (!made.ok) return answer("PlanNotPossible", made.message);
  try {
    const result = await sessions.dryRun(nodeId, { plan: Buffer.from(made.desired.plan, "base64"), signatures: [] }, signal);
    return { nodeId, nodeName: name, steps: result.steps, reason: result.reason, message: result.message };
  } catch (error) {
    if (error instanceof Refused) return answer(error.refusal.reason, error.refusal.message);
    throw error;
  }
}
