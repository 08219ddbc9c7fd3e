/** Objects as people see them: what is stored, with the status that is computed from what the nodes told. Reads only. */
import type { Condition, DroverObject, Kind, Labels, Node, NodeProfile, NodeSet, Selector } from "@drover/api";
import { matchesSelector, revisionOf } from "@drover/api";
import type { Clock } from "@drover/lifecycle";
import type { Clusters } from "../cluster/clusters.ts";
import { lackingKinds, plannedSteps } from "../dispatch/planned-steps.ts";
import type { Sessions } from "../dispatch/sessions.ts";
import { type DisruptionOf, disruptionText } from "../fleet/disruption.ts";
import type { FleetView } from "../fleet/fleet.ts";
import { maintenanceCondition } from "../maintenance/maintenance-condition.ts";
import { Attention } from "../repair/attention.ts";
import type { Catalog } from "./catalog.ts";
import type { MembershipIndex } from "./membership-index.ts";
import { labelsOf } from "./membership.ts";
import { nodeSetStatus } from "./node-set-status.ts";
import { isCurrent, nodeStatus, timestamp } from "./node-status.ts";
import { windowStatus } from "../rollout/opening.ts";
import { contentIn, currentRollout, resolveSet } from "./revisions.ts";

export interface Seen {
  readonly object: DroverObject;
  /** Store revision of the stored part. */
  readonly revision: number;
  /** What label selectors match. */
  readonly labels: Labels;
}

export interface ViewParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly sessions: Pick<Sessions, "stepKinds" | "cloneAlarm">;
  readonly members: MembershipIndex;
  readonly clock: Clock;
  readonly disruptionOf: DisruptionOf;
  /** undefined where no cluster is taken into care. */
  readonly clusters?: () => Pick<Clusters, "statusOf" | "kubernetesNodeOf" | "readySinceMs"> | undefined;
}

export class View {
  readonly #parts: ViewParts;
  readonly #attention: Attention;

  constructor(parts: ViewParts) {
    this.#parts = parts;
    this.#attention = new Attention(parts.catalog);
  }

  get revision(): number {
    return this.#parts.catalog.revision;
  }

  /** @param name for a Node also its id */
  see(kind: Kind, name: string): Seen | undefined {
    const { catalog } = this.#parts;
    const byId = kind === "Node" ? catalog.nodeRecords.get(name)?.value.name : undefined;
    const stored = catalog.object(kind, byId ?? name);
    if (stored === undefined) return undefined;
    const object = this.#withStatus(stored.value);
    object.metadata = { ...object.metadata, resourceVersion: stored.revision };
    return { object, revision: stored.revision, labels: this.#labels(object) };
  }

  /** In order of name. @param selector undefined: all */
  list(kind: Kind, selector: Selector | undefined): readonly Seen[] {
    const names = [...this.#parts.catalog.objects(kind).keys()].sort();
    const seen = names.flatMap((name) => this.see(kind, name) ?? []);
    return selector === undefined ? seen : seen.filter(({ labels }) => matchesSelector(selector, labels));
  }

  #labels(object: DroverObject): Labels {
    if (object.kind !== "Node") return object.metadata.labels ?? {};
    const facts = this.#parts.fleet.node(object.metadata.uid ?? "")?.facts;
    return labelsOf(object, facts);
  }

  /** A copy, so that what is stored stays as it is. */
  #withStatus(object: DroverObject): DroverObject {
    const { clock, catalog } = this.#parts;
    switch (object.kind) {
      case "Node":
        return this.#node(object);
      case "NodeSet":
        return this.#nodeSet(object);
      case "NodeProfile": {
        const locks = [...catalog.objects("ImageLock").values()].map(({ value }) => value);
        return {
          ...object,
          status: { revision: cachedRevision(object, locks, catalog.objects("ImageLock").get(object.spec.images?.lock ?? "")?.revision) },
        };
      }
      case "JoinToken": {
        const isExpired = object.status?.phase === "Unused" && Date.parse(object.spec.expiresAt) <= clock.now();
        return isExpired ? { ...object, status: { phase: "Expired" } } : { ...object };
      }
      case "Cluster": {
        const clusters = this.#parts.clusters?.();
        return clusters === undefined ? { ...object } : { ...object, status: clusters.statusOf(object.metadata.name) };
      }
      case "MaintenanceWindow":
        return { ...object, status: windowStatus(object, clock.now()) };
      case "Rollout":
      case "Repair":
      case "ImageLock":
        return { ...object };
    }
  }

  #node(node: Node): Node {
    const { catalog, fleet, members, clock } = this.#parts;
    const nodeId = node.metadata.uid ?? "";
    const desired = catalog.desired.get(nodeId)?.value;
    const observed = fleet.node(nodeId);
    const labels = labelsOf(node, observed?.facts);
    const lastBeatAtMs = observed?.lastBeatAtMs;
    const status = nodeStatus({
      record: catalog.nodeRecords.get(nodeId)?.value,
      desired,
      observed,
      nodeSet: members.current().setOf.get(nodeId)?.metadata.name ?? "",
      plannedSteps: desired === undefined ? [] : plannedSteps(desired).map(({ id }) => id),
      ownConditions: this.#ownConditions(nodeId),
      kubernetes: this.#parts.clusters?.()?.kubernetesNodeOf(nodeId),
      lastBeatUnixMs: lastBeatAtMs === undefined ? undefined : clock.now() - (clock.monotonicMs() - lastBeatAtMs),
    });
    return { ...node, metadata: { ...node.metadata, labels: { ...labels } }, status };
  }

  #ownConditions(nodeId: string): Condition[] {
    const { catalog, sessions } = this.#parts;
    const conditions: Condition[] = [];
    const clone = sessions.cloneAlarm(nodeId);
    if (clone !== undefined) conditions.push(condition("CloneSuspected", "TwoLiveSessions", clone.message, clone.atMs));
    const disruption = this.#parts.disruptionOf(nodeId);
    if (disruption !== undefined) {
      conditions.push(condition("CellDisrupted", "SilentTogether", disruptionText(disruption), disruption.sinceUnixMs));
    }
    const attention = this.#attention.conditionOf(nodeId);
    if (attention !== undefined) conditions.push(attention);
    const desired = catalog.desired.get(nodeId)?.value;
    const kinds = sessions.stepKinds(nodeId);
    const lacking = desired === undefined || kinds === undefined ? [] : lackingKinds(desired, kinds);
    if (desired !== undefined && lacking.length > 0) {
      conditions.push(condition("Unsupported", "StepKindsLacking", lackingText(lacking), desired.decidedAtMs));
    }
    const maintenance = catalog.maintenances.get(nodeId)?.value;
    if (maintenance !== undefined) conditions.push(maintenanceCondition(maintenance));
    const clusters = this.#parts.clusters?.();
    const kubernetes = clusters?.kubernetesNodeOf(nodeId);
    if (kubernetes !== undefined) {
      const { ready, reason, message } = kubernetes;
      const lastTransitionTime = timestamp(clusters?.readySinceMs(nodeId) ?? 0);
      conditions.push({ type: "KubernetesReady", status: ready, reason, message, lastTransitionTime });
    }
    return conditions;
  }

  #nodeSet(set: NodeSet): NodeSet {
    const { catalog, fleet, members } = this.#parts;
    const { name } = set.metadata;
    const membership = members.current();
    const own = membership.membersOf.get(name) ?? [];
    const rollout = currentRollout(
      name,
      [...catalog.objects("Rollout").values()].map(({ value }) => value),
    );
    let updated = 0;
    let inSync = 0;
    for (const { nodeId } of own) {
      const desired = catalog.desired.get(nodeId)?.value;
      const observed = fleet.node(nodeId);
      if (desired === undefined || observed?.outcome !== "enforced" || !isCurrent(desired, observed)) continue;
      if (desired.revision === rollout?.spec.revision) updated += 1;
      if (observed.drift.every(({ isRepaired }) => isRepaired)) inSync += 1;
    }
    const resolved = resolveSet(set, contentIn(catalog));
    const status = nodeSetStatus({
      set,
      rollout,
      missing: resolved.ok ? undefined : resolved.message,
      contests: membership.contestsOf.get(name) ?? [],
      restored: catalog.restored?.value,
      nodes: own.length,
      updated,
      inSync,
    });
    return { ...set, status };
  }
}

export function lackingText(kinds: readonly string[]): string {
  return `its agent cannot do ${kinds.join(", ")}; install a newer drover-agent on it`;
}

function condition(type: string, reason: string, message: string, atMs: number): Condition {
  return { type, status: "True", reason, message, lastTransitionTime: timestamp(atMs) };
}

const revisions = new WeakMap<NodeProfile, { readonly lockRevision: number | undefined; readonly revision: string }>();

function cachedRevision(profile: NodeProfile, locks: Parameters<typeof revisionOf>[1], lockRevision: number | undefined): string {
  const held = revisions.get(profile);
  if (held !== undefined && held.lockRevision === lockRevision) return held.revision;
  const revision = revisionOf(profile, locks);
  revisions.set(profile, { lockRevision, revision });
  return revision;
}
