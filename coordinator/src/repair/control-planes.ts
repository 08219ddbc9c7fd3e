/** Which nodes are control planes, of what, and how the others of each are: what a repair asks before it may cost etcd a member. Reads only. */
import type { Clusters } from "../cluster/clusters.ts";
import { kubernetesNodeName } from "@drover/api";
import type { FleetView } from "../fleet/fleet.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import type { Member } from "../resources/membership.ts";
import type { ControlPlanes } from "./model.ts";

const CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane";

export interface ControlPlaneParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly members: MembershipIndex;
  readonly clusters: () => Pick<Clusters, "kubernetesNodeOf" | "controlPlanesOf"> | undefined;
}

export interface ControlPlaneFinding {
  /** By node id. */
  readonly scopeOf: ReadonlyMap<string, string>;
  readonly byScope: ReadonlyMap<string, ControlPlanes>;
  /** Nodes of ours among them. */
  readonly members: readonly Member[];
}

/**
 * By the label of the Node here, or of the Node in a cluster: matched by its name, which a machine only says of itself; at worst one that is none waits like one.
 * The scope is the cluster; of labelled nodes that no cluster shows it is their set.
 * @param listed nodes that are looked at anyway
 */
export function controlPlanesOf(
  { catalog, fleet, members, clusters }: ControlPlaneParts,
  memberOf: (nodeId: string) => Member | undefined,
  listed: ReadonlyMap<string, Member>,
): ControlPlaneFinding {
  const scopeOf = new Map<string, string>();
  const shown = new Map<string, { readonly cluster: string; readonly isReady: boolean; nodeId: string | undefined }>();
  for (const cluster of catalog.objects("Cluster").keys()) {
    for (const { nodeName, isReady } of clusters()?.controlPlanesOf(cluster) ?? []) {
      shown.set(`${cluster}/${nodeName}`, { cluster, isReady, nodeId: undefined });
    }
  }
  const clusterNames = [...catalog.objects("Cluster").keys()];
  const found: Member[] = [];
  for (const { nodeId } of fleet.nodes()) {
    const facts = fleet.node(nodeId)?.facts;
    const name = clusters()?.kubernetesNodeOf(nodeId)?.nodeName ?? kubernetesNodeName(facts);
    const key = clusterNames.map((cluster) => `${cluster}/${name}`).find((each) => shown.has(each));
    const isLabelled = catalog.objects("Node").get(catalog.nodeRecords.get(nodeId)?.value.name ?? "")?.value.metadata.labels;
    if (key === undefined && (isLabelled === undefined || !(CONTROL_PLANE_LABEL in isLabelled))) continue;
    const member = listed.get(nodeId) ?? memberOf(nodeId);
    if (member === undefined) continue;
    found.push(member);
    if (key !== undefined) shown.get(key)!.nodeId = nodeId;
    const set = members.current().setOf.get(nodeId);
    scopeOf.set(nodeId, shown.get(key ?? "")?.cluster ?? set?.spec.cluster ?? `set ${set?.metadata.name ?? ""}`);
  }
  return { scopeOf, members: found, byScope: byScope() };

  function byScope(): ReadonlyMap<string, ControlPlanes> {
    const scopes = new Map<string, ControlPlanes>();
    const isHealthy = (nodeId: string): boolean => fleet.node(nodeId)?.health.verdict === "healthy";
    for (const scope of new Set(scopeOf.values())) {
      const own = found.filter(({ nodeId }) => scopeOf.get(nodeId) === scope);
      const isCluster = catalog.objects("Cluster").has(scope);
      if (isCluster && clusters()?.controlPlanesOf(scope) === undefined) {
        scopes.set(scope, { members: undefined });
        continue;
      }
      const ofCluster = [...shown]
        .filter(([, { cluster }]) => cluster === scope)
        .map(([key, { isReady, nodeId }]) => ({
          nodeId,
          name: key.slice(scope.length + 1),
          isHealthy: isReady && (nodeId === undefined || isHealthy(nodeId)),
        }));
      const known = new Set(ofCluster.map(({ nodeId }) => nodeId));
      const others = own.filter(({ nodeId }) => !known.has(nodeId));
      const beside = others.map(({ nodeId, name }) => ({ nodeId, name, isHealthy: isHealthy(nodeId) }));
      scopes.set(scope, { members: [...ofCluster, ...beside] });
    }
    return scopes;
  }
}
