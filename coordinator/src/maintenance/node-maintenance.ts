/**
 * Carries one MaintenanceRecord out, a visit at a time: each looks at the Node as it is, does what is next and says when to come again. What a killed
 * coordinator leaves half done the next visit finds: the record says what is wanted, an annotation on the Node says what we did.
 */
import { formatDuration } from "@drover/api";
import { type Backoff, type Clock, exponentialBackoff, type Log, type Random, withDeadline } from "@drover/lifecycle";
import { ClusterApiError, type ClusterNode, type DrainingApi, type NodePatch } from "../cluster/cluster-api.ts";
import type { Clusters } from "../cluster/clusters.ts";
import type { MaintenanceRecord } from "../records.ts";
import type { Catalog, Stored } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { cordonPatch, isAnothers, isCordonedFor, isOursToUncordon, uncordonPatch } from "./cordon.ts";
import { Evictions } from "./evictions.ts";
import { holdUp, mustLeave, podName } from "./leaving-pods.ts";
import { ownership, revisitAfterMs } from "./ownership.ts";

export interface NodeMaintenanceParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly members: Pick<MembershipIndex, "current">;
  readonly clusters: Pick<Clusters, "drainingApiOf">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** How often pods that are on their way are looked for. */
export const POLL_MS = 2_000;
/** How often a Node that is as it should be is looked at. */
export const LOOK_AGAIN_MS = 30_000;
const CALL_AGAIN = { baseMs: 5_000, maxMs: 30_000 };
/** How long a node that no set has stays cordoned for its rollout. */
const DOUBT_MS = 5 * 60_000;
/** How long a cluster whose object was deleted is tried. */
const GIVE_UP_MS = 10 * 60_000;
/** What moves all the time is not written all the time. */
const MESSAGE_PAUSE_MS = 5_000;
const CATCH_UP_DEADLINE_MS = 30_000;
const PATCH_ATTEMPTS = 4;
/** Somebody else was quicker: what he wrote is here soon. */
const OVERTAKEN_MS = 100;
const MAX_MESSAGE = 600;

/** A record was changed by somebody else in the middle: what was to follow is to be thought over. */
class Overtaken extends Error {}

export class NodeMaintenance {
  readonly #parts: NodeMaintenanceParts;
  readonly #nodeId: string;
  readonly #callAgain: Backoff;
  readonly #evictions: Evictions;
  /** Of the visit that is under way. */
  #ended: AbortSignal | undefined;
  #ownRevision: number | undefined;
  #wroteMs = Number.NEGATIVE_INFINITY;
  #doubtSinceMs: number | undefined;
  #goneSinceMs: number | undefined;

  constructor(parts: NodeMaintenanceParts, nodeId: string) {
    this.#parts = parts;
    this.#nodeId = nodeId;
    this.#callAgain = exponentialBackoff(parts.random, CALL_AGAIN);
    this.#evictions = new Evictions(parts.clock, parts.random);
  }

  /** Whether the record as it is at this store revision was written by a visit; undefined: it has gone. */
  wrote(revision: number | undefined): boolean {
    return revision === this.#ownRevision;
  }

  /** @returns milliseconds until the next visit, unless the record changes before. @throws when the store fails */
  async visit(signal: AbortSignal): Promise<number> {
    const { catalog } = this.#parts;
    const stored = catalog.maintenances.get(this.#nodeId);
    if (stored === undefined || catalog.restored !== undefined) return LOOK_AGAIN_MS;
    this.#ended = signal;
    try {
      return await this.#visit(stored, signal);
    } catch (error) {
      if (error instanceof Overtaken || signal.aborted) return OVERTAKEN_MS;
      if (!(error instanceof ClusterApiError)) throw error;
      return this.#failed(error);
    }
  }

  async #visit(stored: Stored<MaintenanceRecord>, signal: AbortSignal): Promise<number> {
    const { catalog, clusters, clock, log } = this.#parts;
    const record = stored.value;
    const why = this.#orphanedWhy(record);
    const isOver = record.wanted === "release" || why !== undefined;
    if (record.cluster === "") return isOver ? this.#forget(stored) : LOOK_AGAIN_MS;
    if (!isOver && isUnderWay(record) && clock.now() >= record.deadlineAtMs) {
      await this.#timeOut(stored);
      return 0;
    }
    const isGone = !catalog.objects("Cluster").has(record.cluster);
    this.#goneSinceMs = isGone ? (this.#goneSinceMs ?? clock.monotonicMs()) : undefined;
    const givenUp = isGone ? `Cluster/${record.cluster} was deleted` : undefined;
    const connection = await clusters.drainingApiOf(record.cluster);
    const isHopeless = isGone && (!connection.ok || clock.monotonicMs() - this.#goneSinceMs! > GIVE_UP_MS);
    if (isHopeless) {
      const about = { node: record.nodeId, cluster: record.cluster, kubernetesNode: record.nodeName };
      log.error(about, `a Node may be left cordoned in a cluster that was given up: kubectl uncordon ${record.nodeName}`);
      return this.#forget(stored);
    }
    if (!connection.ok) {
      await this.#say(stored, connection.message);
      return LOOK_AGAIN_MS;
    }
    const next =
      isOver || isGone
        ? await this.#release(stored, connection.api, signal, why ?? givenUp)
        : record.phase === "timedOut"
          ? await this.#letGo(record, connection.api, signal)
          : await this.#hold(stored, connection.api, signal);
    this.#callAgain.reset();
    return next;
  }

  #orphanedWhy(record: MaintenanceRecord): string | undefined {
    const { clock } = this.#parts;
    const standing = ownership(this.#parts, record);
    if (standing.state !== "doubtful") this.#doubtSinceMs = undefined;
    if (standing.state === "owned") return undefined;
    if (standing.state === "orphaned") return standing.why;
    this.#doubtSinceMs ??= clock.monotonicMs();
    return clock.monotonicMs() - this.#doubtSinceMs >= DOUBT_MS ? standing.why : undefined;
  }

  async #release(stored: Stored<MaintenanceRecord>, api: DrainingApi, signal: AbortSignal, why: string | undefined): Promise<number> {
    const record = stored.value;
    const patchOf = (node: ClusterNode): NodePatch | undefined => (isOursToUncordon(node, record) ? uncordonPatch(node) : undefined);
    await this.#change(record, api, signal, patchOf);
    const { nodeId, cluster, nodeName, wasCordoned } = record;
    await this.#forget(stored);
    const about = { node: nodeId, cluster, kubernetesNode: nodeName, ...(why === undefined ? {} : { why }) };
    this.#parts.log.info(about, wasCordoned ? "maintenance is over; the node was cordoned before, and stays so" : "maintenance is over");
    return LOOK_AGAIN_MS;
  }

  async #letGo(record: MaintenanceRecord, api: DrainingApi, signal: AbortSignal): Promise<number> {
    await this.#change(record, api, signal, (node) => (isCordonedFor(node, record.nodeId) ? uncordonPatch(node) : undefined));
    return LOOK_AGAIN_MS;
  }

  /** Cordoned, and drained if that is wanted; and kept so. */
  async #hold(stored: Stored<MaintenanceRecord>, api: DrainingApi, signal: AbortSignal): Promise<number> {
    const { nodeId, cluster, nodeName, wanted } = stored.value;
    const before = await api.node(nodeName, signal);
    if (before === undefined || isAnothers(before, nodeId)) {
      const message = `Cluster/${cluster} has no Node ${nodeName} of this machine: nothing runs there`;
      await this.#write(stored, { phase: wanted === "drain" ? "drained" : "cordoned", message });
      return LOOK_AGAIN_MS;
    }
    let wasCordoned =
      stored.value.phase === "waiting" ? before.isUnschedulable && !isCordonedFor(before, nodeId) : stored.value.wasCordoned;
    if (!before.isUnschedulable) {
      // Also when somebody has uncordoned it by hand: while it is wanted, nothing new may come there.
      const patchOf = (node: ClusterNode): NodePatch | undefined => (node.isUnschedulable ? undefined : cordonPatch(node, nodeId));
      if ((await this.#change(stored.value, api, signal, patchOf)) !== "changed") return OVERTAKEN_MS;
      wasCordoned = false;
    }
    const { phase } = stored.value;
    const isDraining = wanted === "drain" && phase === "draining";
    const message = wasCordoned ? "it was cordoned before, and stays so" : "";
    const reached = wanted === "drain" && phase === "drained" ? "drained" : "cordoned";
    const cordoned = await this.#write(stored, isDraining ? { wasCordoned } : { phase: reached, wasCordoned, message });
    if (wanted !== "drain" || phase === "drained") return LOOK_AGAIN_MS;
    return this.#drain(cordoned, api, signal);
  }

  async #drain(stored: Stored<MaintenanceRecord>, api: DrainingApi, signal: AbortSignal): Promise<number> {
    const { clock, log } = this.#parts;
    const { nodeId, nodeName, cluster, deadlineAtMs, startedAtMs } = stored.value;
    const leaving = (await api.podsOf(nodeName, signal)).filter(mustLeave).sort((a, b) => (podName(a) < podName(b) ? -1 : 1));
    if (leaving.length === 0) {
      const tookMs = Math.max(0, clock.now() - startedAtMs);
      log.info({ node: nodeId, cluster, kubernetesNode: nodeName, tookMs }, "node is drained");
      await this.#write(stored, { phase: "drained", message: "" });
      return LOOK_AGAIN_MS;
    }
    const draining = await this.#write(stored, { phase: "draining" });
    const { catalog } = this.#parts;
    // Released, timed out or stopped in the middle: not one more goes.
    const isOvertaken = (): boolean => catalog.maintenances.get(nodeId)?.revision !== draining.revision || catalog.restored !== undefined;
    const mayGoOn = (): boolean => !isOvertaken() && clock.now() < deadlineAtMs;
    const holds = await this.#evictions.ask(leaving, api, mayGoOn, signal);
    if (isOvertaken()) throw new Overtaken();
    const message = holdUp(leaving, holds);
    await this.#say(draining, message);
    return Math.max(0, Math.min(POLL_MS, deadlineAtMs - clock.now()));
  }

  /** @throws ClusterApiError, also when others change it again and again */
  async #change(
    { nodeId, nodeName, cluster }: MaintenanceRecord,
    api: DrainingApi,
    signal: AbortSignal,
    patchOf: (node: ClusterNode) => NodePatch | undefined,
  ): Promise<"changed" | "asItIs" | "gone"> {
    for (let attempt = 1; ; attempt += 1) {
      const node = await api.node(nodeName, signal);
      if (node === undefined) return "gone";
      const patch = patchOf(node);
      if (patch === undefined) return "asItIs";
      try {
        await api.patchNode(nodeName, patch, signal);
        const about = { node: nodeId, cluster, kubernetesNode: nodeName };
        this.#parts.log.info(about, patch.isUnschedulable === true ? "node is cordoned" : "node is uncordoned");
        return "changed";
      } catch (error) {
        if (!(error instanceof ClusterApiError)) throw error;
        if (error.code === "NotFound") return "gone";
        if (error.code !== "Conflict" || attempt === PATCH_ATTEMPTS) throw error;
      }
    }
  }

  async #timeOut(stored: Stored<MaintenanceRecord>): Promise<void> {
    const { clock, log } = this.#parts;
    const { wanted, message, startedAtMs, deadlineAtMs, nodeId, cluster, nodeName } = stored.value;
    const afterMs = revisitAfterMs(this.#parts, stored.value);
    const within = formatDuration(Math.max(0, deadlineAtMs - startedAtMs));
    const why = `not ${wanted === "drain" ? "drained" : "cordoned"} within ${within}${message === "" ? "" : `: ${message}`}`;
    log.warn({ node: nodeId, cluster, kubernetesNode: nodeName, why }, "a drain came to its deadline, and the node is let go");
    const revisit = afterMs === undefined ? {} : { revisitAtMs: clock.now() + afterMs };
    await this.#write(stored, { phase: "timedOut", message: why, ...revisit });
  }

  async #failed(error: ClusterApiError): Promise<number> {
    const { catalog, log } = this.#parts;
    const stored = catalog.maintenances.get(this.#nodeId);
    if (stored === undefined) return LOOK_AGAIN_MS;
    const { nodeId, cluster, message } = stored.value;
    const said = `Cluster/${cluster}: ${error.message}`;
    if (message !== said) log.warn({ node: nodeId, cluster, err: error }, "a node's maintenance does not come on");
    try {
      // What a timed out drain was held up by is worth more than that its cluster does not answer now.
      if (stored.value.phase !== "timedOut") await this.#say(stored, said);
    } catch (overtaken) {
      if (!(overtaken instanceof Overtaken)) throw overtaken;
      return OVERTAKEN_MS;
    }
    return this.#callAgain.nextDelayMs();
  }

  /** A message alone waits for its turn. */
  async #say(stored: Stored<MaintenanceRecord>, message: string): Promise<void> {
    if (this.#parts.clock.monotonicMs() - this.#wroteMs < MESSAGE_PAUSE_MS && stored.value.message !== "") return;
    await this.#write(stored, { message });
  }

  /** @throws Overtaken */
  async #write(stored: Stored<MaintenanceRecord>, changes: Partial<MaintenanceRecord>): Promise<Stored<MaintenanceRecord>> {
    const { store, clock } = this.#parts;
    const { message = stored.value.message } = changes;
    const value: MaintenanceRecord = { ...stored.value, ...changes, message: message.slice(0, MAX_MESSAGE) };
    if (isSame(value, stored.value)) return stored;
    const committed = await store.commit([putJson(keys.maintenance(this.#nodeId), value, stored.revision)]);
    if (!committed.ok) throw new Overtaken();
    this.#wroteMs = clock.monotonicMs();
    this.#ownRevision = committed.revision;
    await this.#caughtUp(committed.revision);
    return { value, revision: committed.revision };
  }

  async #forget(stored: Stored<MaintenanceRecord>): Promise<number> {
    const key = keys.maintenance(this.#nodeId);
    const committed = await this.#parts.store.commit([{ type: "delete", key, expectedRevision: stored.revision }]);
    if (!committed.ok) throw new Overtaken();
    this.#ownRevision = undefined;
    await this.#caughtUp(committed.revision);
    return LOOK_AGAIN_MS;
  }

  async #caughtUp(revision: number): Promise<void> {
    const { catalog, clock } = this.#parts;
    await withDeadline(clock, "following the store", CATCH_UP_DEADLINE_MS, this.#ended, () => catalog.reached(revision));
  }
}

function isUnderWay({ wanted, phase }: MaintenanceRecord): boolean {
  return wanted === "drain" ? phase === "waiting" || phase === "cordoned" || phase === "draining" : phase === "waiting";
}

function isSame(a: MaintenanceRecord, b: MaintenanceRecord): boolean {
  return a.phase === b.phase && a.message === b.message && a.wasCordoned === b.wasCordoned && a.revisitAtMs === b.revisitAtMs;
}
