/** `drover node rejoin NODE [--yes]`: shows what it will do to what, asks, and lets the node be reset and join its cluster again. */
import type { DroverObject, Node, NodeSet, Rollout } from "@drover/api";
import { resolveMaxUnavailable } from "@drover/api";
import { CliError, exitCodes } from "../cli-error.ts";
import { confirmed } from "../confirmation.ts";
import { decodeObject, type Session } from "../session.ts";

export async function rejoinNode(session: Session, name: string, isSure: boolean): Promise<void> {
  const connection = session.connect();
  const get = async (kind: string, wanted: string): Promise<DroverObject> =>
    decodeObject((await connection.call("getObject", { kind, name: wanted })).object);
  const node = (await get("Node", name)) as Node;
  const setName = node.status?.nodeSet ?? "";
  if (setName === "") {
    throw new CliError(
      exitCodes.conflict,
      `no NodeSet selects node/${node.metadata.name}, so that it joins no cluster`,
      `drover describe node ${node.metadata.name}`,
    );
  }
  const set = (await get("NodeSet", setName)) as NodeSet;
  const { cluster } = set.spec;
  if (cluster === undefined) {
    throw new CliError(
      exitCodes.conflict,
      `nodeset/${setName} of node/${node.metadata.name} names no cluster, so that there is none to join again`,
      `drover get nodeset ${setName} -o yaml`,
    );
  }
  const { objects } = await connection.call("listObjects", { kind: "Rollout", labelSelector: "" });
  const rollout = objects.map(decodeObject).find((object) => isCurrentOf(object, setName)) as Rollout | undefined;
  session.print(whatWillHappen(node, set, cluster, rollout));
  if (!isSure) await confirmed(session, "Reset it and let it join again?", "--yes");
  // By id: it is the machine that was shown, whoever has its name meanwhile.
  const { rejoin } = await connection.call("rejoinNode", { node: node.metadata.uid ?? name });
  const watch = rollout === undefined ? `drover describe node ${node.metadata.name}` : `drover rollout status ${rollout.metadata.name}`;
  session.print(`node/${node.metadata.name} is to join cluster/${cluster} again (asked for ${rejoin} times); watch it: ${watch}`);
}

function isCurrentOf(object: DroverObject, setName: string): boolean {
  return object.kind === "Rollout" && object.spec.nodeSet === setName && object.status?.phase !== "Superseded";
}

export function whatWillHappen(node: Node, set: NodeSet, cluster: string, rollout: Rollout | undefined): string {
  const { status } = node;
  const inCluster = status?.kubernetes;
  const size = set.status?.nodes ?? 0;
  const { maxUnavailable } = set.spec.strategy;
  const allowed = size === 0 ? maxUnavailable : resolveMaxUnavailable(maxUnavailable, size);
  const lines = [
    `1 node will be reset, which ends its pods and takes it out of the cluster, and will join again:`,
    `  node:     ${node.metadata.name} (${node.metadata.uid ?? "-"}), ${status?.phase ?? "Pending"}, ${status?.health ?? "unknown"}`,
    `  set:      ${set.metadata.name}, ${size} node${size === 1 ? "" : "s"}`,
    `  cluster:  ${cluster}${inCluster === undefined ? ", which knows no Node of it" : `, in it ${inCluster.nodeName}, Ready=${inCluster.ready}`}`,
    `  budget:   ${allowed} may be unavailable at once, ${rollout?.status?.inChange ?? 0} in change now; it waits for its turn`,
  ];
  if (rollout?.status?.phase === "Stopped") lines.push(`  rollout/${rollout.metadata.name} is Stopped: it waits until that goes on`);
  return lines.join("\n");
}
