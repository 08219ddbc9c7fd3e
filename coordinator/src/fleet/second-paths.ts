/** The second paths of this coordinator's nodes: the Leases of their clusters, and the port that their set names. */
import type { Clock } from "@drover/lifecycle";
import type { Clusters } from "../cluster/clusters.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import type { FleetView } from "./fleet.ts";
import { LeasePath } from "./lease-path.ts";
import { allPaths, type SecondPath } from "./second-path.ts";
import { type ConnectTcp, reachableAddresses, TcpPath } from "./tcp-path.ts";

export interface SecondPathsParts {
  readonly connect: ConnectTcp;
  /** undefined where no cluster is taken into care. */
  readonly clusters: () => Pick<Clusters, "kubernetesNodeOf" | "readingApiOf"> | undefined;
  readonly members: Pick<MembershipIndex, "current">;
  readonly fleet: Pick<FleetView, "node">;
  readonly clock: Clock;
}

export function secondPath({ connect, clusters, members, fleet, clock }: SecondPathsParts): SecondPath {
  const leases = new LeasePath({
    clock,
    kubernetesNodeOf: (nodeId) => clusters()?.kubernetesNodeOf(nodeId),
    apiOf: async (cluster) => clusters()?.readingApiOf(cluster),
  });
  const ports = new TcpPath({
    clock,
    connect,
    targetOf: (nodeId) => {
      const port = members.current().setOf.get(nodeId)?.spec.probePort;
      const facts = fleet.node(nodeId)?.facts;
      const addresses = facts === undefined ? [] : reachableAddresses(facts);
      return port === undefined || addresses.length === 0 ? undefined : { addresses, port };
    },
  });
  return allPaths([leases, ports]);
}
