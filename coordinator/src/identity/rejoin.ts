/** An operator asks that a node be reset and join its cluster again: written into its record, for the rollout to act on within the set's budget. */
import type { Clock, Log, Random } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { DesiredNode, NodeRecord } from "../records.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";

const MAX_ATTEMPTS = 10;

export interface RejoinDependencies {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What the node is in, as it is known now. */
export interface RejoinStanding {
  /** undefined: no set selects it. */
  readonly nodeSet: string | undefined;
  /** That its set names; undefined: none. */
  readonly cluster: string | undefined;
  readonly desired: DesiredNode | undefined;
}

export type Rejoin = { readonly ok: true; readonly nodeId: string; readonly rejoin: number } | Refusal;

/** Each asking counts, also before the one before was done. @param actor "operator:NAME" */
export async function rejoinNode(
  dependencies: RejoinDependencies,
  nodeId: string,
  standing: RejoinStanding,
  actor: string,
): Promise<Rejoin> {
  const { store, clock, random, log } = dependencies;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const entry = await store.get(keys.node(nodeId));
    if (entry === undefined) return refuse("NotFound", `there is no node ${nodeId}; see: drover get nodes`);
    const known = readJson(entry) as NodeRecord;
    const refusal = whyNot(known, standing);
    const atMs = clock.now();
    const audit = { atMs, actor, action: "RejoinNode", target: `Node/${known.name}` } as const;
    if (refusal !== undefined) {
      await store.commit([auditOperation({ ...audit, outcome: "refused", message: `${refusal.reason}: ${refusal.message}` }, random)]);
      return refusal;
    }
    const rejoin = (known.rejoin ?? 0) + 1;
    const message = `cluster ${standing.cluster}, rejoin ${rejoin}`;
    const committed = await store.commit([
      putJson(entry.key, { ...known, rejoin }, entry.revision),
      auditOperation({ ...audit, outcome: "ok", message }, random),
    ]);
    if (!committed.ok) continue;
    log.info({ node: nodeId, actor, rejoin }, "node is to join its cluster again");
    return { ok: true, nodeId, rejoin };
  }
  return refuse("Conflict", "the node's record keeps changing; try again");
}

function whyNot({ name, revokedAtMs }: NodeRecord, { nodeSet, cluster, desired }: RejoinStanding): Refusal | undefined {
  if (revokedAtMs !== undefined) return precondition("NodeRevoked", `node ${name} is revoked; enrol the machine anew with a join token`);
  if (nodeSet === undefined) return precondition("NotInCluster", `no NodeSet selects node ${name}, so that it joins no cluster`);
  if (cluster === undefined) {
    return precondition("NotInCluster", `NodeSet ${nodeSet} of node ${name} names no cluster; set spec.cluster of the set and apply it`);
  }
  if (desired === undefined) return precondition("NoPlan", `node ${name} has no plan yet; its first one joins it to ${cluster}`);
  if (desired.rejoin === undefined) {
    return precondition(
      "NoPlan",
      `the plan of node ${name} joins no cluster yet; the one that its rollout gives it joins it to ${cluster}`,
    );
  }
  return undefined;
}

function precondition(reason: string, message: string): Refusal {
  return { ok: false, status: "FAILED_PRECONDITION", reason, message };
}
