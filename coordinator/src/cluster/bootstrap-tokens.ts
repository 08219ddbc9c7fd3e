/**
 * kubeadm's bootstrap tokens, minted for one node when it is ready to join. A record without the secret half is stored before the token is made, and
 * goes after the token has gone: a coordinator that is killed anywhere leaves nothing that token-sweep.ts does not find.
 */
import { randomInt } from "node:crypto";
import { kubernetesNodeName } from "@drover/api";
import { type Clock, type Log, type Random, Secret } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { FleetView } from "../fleet/fleet.ts";
import type { BootstrapTokenRecord, DesiredNode, ExpectedNodeRecord } from "../records.ts";
import { type Refusal, refuse } from "../refusal.ts";
import type { Catalog } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { type ClusterApi, ClusterApiError, NODE_MARK } from "./cluster-api.ts";
import { type ClusterConnections, refusalOf } from "./cluster-connections.ts";
import type { JoinCredentialAnswer, JoinCredentialWanted } from "./clusters.ts";
import { isOurs } from "./node-marks.ts";
import type { PlannedJoin } from "../dispatch/planned-steps.ts";
import { joinReport, plannedJoin } from "./planned-join.ts";

export const BOOTSTRAP_TOKEN_TTL_MS = 15 * 60_000;
const CLEAN_UP_DEADLINE_MS = 15_000;
const TOKEN_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789";

export interface BootstrapTokensParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly connections: ClusterConnections;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

interface Planned {
  readonly ok: true;
  readonly desired: DesiredNode;
  readonly join: PlannedJoin;
  readonly adoption: string;
  readonly nodeName: string;
}

export class BootstrapTokens {
  readonly #parts: BootstrapTokensParts;
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(parts: BootstrapTokensParts) {
    this.#parts = parts;
  }

  /** One at a time for each node. */
  mint(wanted: JoinCredentialWanted, signal: AbortSignal): Promise<JoinCredentialAnswer> {
    const before = this.#turns.get(wanted.nodeId) ?? Promise.resolve();
    const turn = before.then(() => this.#mint(wanted, signal));
    const settled = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(wanted.nodeId, settled);
    void settled.then(() => this.#turns.get(wanted.nodeId) === settled && this.#turns.delete(wanted.nodeId));
    return turn;
  }

  /** Takes the token out of its cluster, then forgets it. @throws ClusterApiError while the cluster does not let it go */
  async remove(record: BootstrapTokenRecord, api: ClusterApi, signal: AbortSignal): Promise<void> {
    await api.deleteBootstrapToken(record.tokenId, signal);
    await this.forget(record);
  }

  async forget({ tokenId }: BootstrapTokenRecord): Promise<void> {
    await this.#parts.store.commit([{ type: "delete", key: keys.bootstrapToken(tokenId) }]);
  }

  async #mint(wanted: JoinCredentialWanted, signal: AbortSignal): Promise<JoinCredentialAnswer> {
    const planned = this.#planned(wanted);
    if (!planned.ok) return planned;
    const { connections, clock, log } = this.#parts;
    const connection = await connections.to(wanted.cluster);
    if (!connection.ok) return connection;
    const { api } = connection;
    try {
      await this.#removeOlder(wanted, api, signal);
      const taken = await this.#clearNodeName(planned, api, signal);
      if (taken !== undefined) return taken;
    } catch (error) {
      return refusalOf(wanted.cluster, error);
    }
    const secret = new Secret(tokenText(16));
    const record = await this.#record(planned);
    if (record === undefined) return refuse("Conflict", "another token was made under the same id; ask again");
    try {
      const { tokenId, expiresAtMs, nodeId } = record;
      const description = `Drover: node ${nodeId} joins by generation ${record.generation}`;
      await api.createBootstrapToken({ tokenId, secret, expiresAtMs, description, nodeId, adoption: planned.adoption }, signal);
    } catch (error) {
      await this.#cleanUp(record, api);
      return refusalOf(wanted.cluster, error);
    }
    // Meanwhile somebody may have revoked the node, and the sweep have looked for a token that was not there yet.
    const still = this.#planned(wanted);
    const isHeld = (await this.#parts.store.get(keys.bootstrapToken(record.tokenId))) !== undefined;
    if (!still.ok || !isHeld || signal.aborted) {
      await this.#cleanUp(record, api);
      return still.ok ? refuse("Stopping", "nobody is there any more who asked for the token") : still;
    }
    log.info(
      { node: wanted.nodeId, cluster: wanted.cluster, token: record.tokenId, forMs: record.expiresAtMs - clock.now() },
      "bootstrap token minted",
    );
    return { ok: true, token: new Secret(`${record.tokenId}.${secret.reveal()}`), expiresAtMs: record.expiresAtMs };
  }

  #planned({ nodeId, cluster, generation }: JoinCredentialWanted): Planned | Refusal {
    const { catalog, fleet } = this.#parts;
    const no = (message: string): Refusal => refuse("NotPlanned", message);
    if (catalog.restored !== undefined)
      return no("all decisions have stopped: the store is a backup; accept it with: drover-coordinator restore --accept");
    const node = catalog.nodeRecords.get(nodeId)?.value;
    if (node === undefined || node.revokedAtMs !== undefined) return no(`node ${nodeId} is not known, or revoked`);
    const desired = catalog.desired.get(nodeId)?.value;
    const join = desired === undefined ? undefined : plannedJoin(desired);
    if (desired === undefined || join === undefined) return no(`no plan puts node ${nodeId} in a cluster`);
    if (desired.generation !== generation) return no(`generation ${desired.generation} is decided for node ${nodeId}, not ${generation}`);
    const seen = fleet.node(nodeId);
    if (seen?.outcome === "enforced" && seen.planEpoch === desired.planEpoch && seen.observedGeneration === generation) {
      return no(`node ${nodeId} has reported that generation ${generation} is done; to join again: drover node rejoin`);
    }
    if (join.spec.cluster !== cluster)
      return no(`its plan puts node ${nodeId} in Cluster/${join.spec.cluster}, not ${JSON.stringify(cluster)}`);
    const object = catalog.objects("Cluster").get(cluster)?.value;
    if (object === undefined) return no(`there is no Cluster ${JSON.stringify(cluster)}`);
    const nodeName = nodeNameOf(join, nodeId, fleet);
    const twin = nodeName === "" ? undefined : this.#twin(nodeId, cluster, nodeName);
    if (twin !== undefined) {
      return refuse(
        "NodeNameTaken",
        `Node/${twin} is to join Cluster/${cluster} as ${nodeName}, too; give one of the machines another hostname`,
      );
    }
    return { ok: true, desired, join, adoption: object.metadata.uid ?? "", nodeName };
  }

  /** Another node of ours that is the same Node in the cluster. */
  #twin(nodeId: string, cluster: string, nodeName: string): string | undefined {
    const { catalog, fleet } = this.#parts;
    for (const { value: other } of catalog.desired.values()) {
      if (other.nodeId === nodeId) continue;
      const record = catalog.nodeRecords.get(other.nodeId)?.value;
      const join = record === undefined || record.revokedAtMs !== undefined ? undefined : plannedJoin(other);
      if (join?.spec.cluster === cluster && nodeNameOf(join, other.nodeId, fleet) === nodeName) return record!.name;
    }
    return undefined;
  }

  /** What cannot be deleted from another cluster now is left to the sweep. */
  async #removeOlder({ nodeId, cluster }: JoinCredentialWanted, api: ClusterApi, signal: AbortSignal): Promise<void> {
    const { store, connections, log } = this.#parts;
    const { entries } = await store.list(keys.bootstrapTokens);
    for (const record of entries.map((entry) => readJson(entry) as BootstrapTokenRecord)) {
      if (record.nodeId !== nodeId) continue;
      if (record.cluster === cluster) {
        await this.remove(record, api, signal);
        continue;
      }
      const other = await connections.to(record.cluster);
      if (!other.ok) continue;
      await this.remove(record, other.api, signal).catch((error: unknown) => {
        if (!(error instanceof ClusterApiError)) throw error;
        log.warn({ node: nodeId, cluster: record.cluster, err: error }, "an older bootstrap token could not be deleted yet");
      });
    }
  }

  /** kubeadm joins under no name that is Ready in the cluster: what this node left there before it was reset goes first; what is not its own stays. */
  async #clearNodeName(
    { desired: { nodeId }, join, nodeName, adoption }: Planned,
    api: ClusterApi,
    signal: AbortSignal,
  ): Promise<Refusal | undefined> {
    if (nodeName === "") return undefined;
    const existing = await api.node(nodeName, signal);
    if (existing === undefined) return undefined;
    const { cluster } = join.spec;
    const expected = [...this.#parts.catalog.expectedNodes.values()].map(({ value }) => value);
    if (!isOurs(existing, nodeId, adoption, expected)) {
      const whose = existing.annotations[NODE_MARK] === undefined ? "nobody's of ours" : `node ${existing.annotations[NODE_MARK]}'s`;
      return refuse(
        "NodeNameTaken",
        `Cluster/${cluster} has a Node ${nodeName} already, and it is ${whose}; give the machine another hostname, or: kubectl delete node ${nodeName}`,
      );
    }
    await api.deleteNode(existing, signal);
    this.#parts.log.info({ node: nodeId, cluster, kubernetesNode: nodeName }, "Node deleted before its machine joins again");
    return undefined;
  }

  /** undefined: the id is taken. */
  async #record({ desired, join, nodeName, adoption }: Planned): Promise<BootstrapTokenRecord | undefined> {
    const { store, catalog, fleet, clock, random } = this.#parts;
    const { nodeId, planEpoch, generation } = desired;
    const { cluster } = join.spec;
    const tokenId = tokenText(6);
    const mintedAtMs = clock.now();
    const reportedBefore = joinReport(fleet.node(nodeId), desired, join.stepId);
    const expiresAtMs = mintedAtMs + BOOTSTRAP_TOKEN_TTL_MS;
    const record: BootstrapTokenRecord = { tokenId, cluster, nodeId, planEpoch, generation, mintedAtMs, expiresAtMs, reportedBefore };
    const target = `Node/${catalog.nodeRecords.get(nodeId)?.value.name ?? nodeId}`;
    const message = `token ${tokenId} of Cluster/${cluster}, generation ${generation}`;
    const audit = { atMs: mintedAtMs, actor: `node:${nodeId}`, action: "MintBootstrapToken", target, outcome: "ok", message } as const;
    const expected: ExpectedNodeRecord = { nodeId, cluster, adoption, nodeName, mintedAtMs };
    const committed = await store.commit([
      putJson(keys.bootstrapToken(tokenId), record, 0),
      putJson(keys.expectedNode(nodeId), expected),
      auditOperation(audit, random),
    ]);
    return committed.ok ? record : undefined;
  }

  /** Whoever asked may be gone by now: with a deadline of its own. What fails here the sweep does. */
  async #cleanUp(record: BootstrapTokenRecord, api: ClusterApi): Promise<void> {
    const ended = new AbortController();
    const cancel = this.#parts.clock.setTimer(CLEAN_UP_DEADLINE_MS, () => ended.abort());
    try {
      await this.remove(record, api, ended.signal);
    } catch (error) {
      if (!(error instanceof ClusterApiError)) throw error;
      this.#parts.log.warn({ token: record.tokenId, cluster: record.cluster, err: error }, "a bootstrap token could not be deleted yet");
    } finally {
      cancel();
    }
  }
}

/** Empty: not known yet. */
export function nodeNameOf({ spec }: PlannedJoin, nodeId: string, fleet: FleetView): string {
  return spec.nodeName === "" ? kubernetesNodeName(fleet.node(nodeId)?.facts) : spec.nodeName;
}

function tokenText(length: number): string {
  return Array.from({ length }, () => TOKEN_ALPHABET[randomInt(TOKEN_ALPHABET.length)]).join("");
}
