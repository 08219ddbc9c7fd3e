/** One adopted cluster as its own API shows it: whether it answers, which of our nodes are Ready; keeps their labels and taints as the plans name them. */
import type { Cluster, Node } from "@drover/api";
import { type Clock, jittered, type Log, type Random, sleep } from "@drover/lifecycle";
import type { KubeadmSpec } from "@drover/proto";
import type { FleetView } from "../fleet/fleet.ts";
import type { Catalog } from "../resources/catalog.ts";
import { nodeNameOf } from "./bootstrap-tokens.ts";
import { type ClusterApi, ClusterApiError, type ClusterApiErrorCode, type ClusterNode, NODE_MARK } from "./cluster-api.ts";
import { type ClusterConnections, refusalOf } from "./cluster-connections.ts";
import { isOurs, markPatch } from "./node-marks.ts";
import { JOINED, plannedJoin } from "./planned-join.ts";

export type KubernetesNode = NonNullable<NonNullable<Node["status"]>["kubernetes"]>;
export type ClusterStatus = NonNullable<Cluster["status"]>;

export const LIST_INTERVAL_MS = 30_000;
export const FAST_LIST_INTERVAL_MS = 5_000;
/** Nobody is in it: only whether it answers is of interest. */
const IDLE_LIST_INTERVAL_MS = 300_000;
const JITTER = 0.1;
/** How long after its token a node may take to be Ready before it is looked for less often. */
const SETTLING_MS = 10 * 60_000;
const STALE_AFTER_INTERVALS = 3;
const VERSION_INTERVAL_MS = 10 * 60_000;
const PATCH_PAUSE_MS = 200;
const PATCH_ATTEMPTS = 4;
/** Before 1.24 kubeadm said master, too. */
const CONTROL_PLANE_LABELS = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/** Said of the cluster, not of one Node. */
const NO_USE_GOING_ON: ReadonlySet<ClusterApiErrorCode> = new Set(["Unreachable", "Unauthorized"]);

export interface ClusterWatchParts {
  readonly cluster: string;
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly connections: ClusterConnections;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly changed: (nodeId: string) => void;
}

interface Member {
  readonly nodeId: string;
  readonly nodeName: string;
  readonly spec: KubeadmSpec;
}

/** A control plane as the cluster shows it, ours or not. */
export interface ControlPlaneNode {
  readonly nodeName: string;
  readonly isReady: boolean;
}

export class ClusterWatch {
  readonly #parts: ClusterWatchParts;
  #nodes = new Map<string, KubernetesNode>();
  #controlPlanes: readonly ControlPlaneNode[] | undefined;
  /** Nodes that are joining, or did and are not Ready yet: until when they are waited for. */
  readonly #settling = new Map<string, number>();
  readonly #readySinceMs = new Map<string, number>();
  /** By node id: the uid of the Node that it claims without proof, told once. */
  readonly #unclaimed = new Map<string, string>();
  /** By node id: why its Node's labels and taints could not be changed, told once. */
  readonly #unmarked = new Map<string, string>();
  #failure: { readonly reason: string; readonly message: string } | undefined;
  #failuresInRow = 0;
  #lastListMs: number | undefined;
  #lastVersionMs: number | undefined;
  #readAtMs: number | undefined;
  /** Monotonic time until which somebody waits for the next answer. */
  #awaitedUntilMs = -Infinity;
  #version = "";
  #hasMembers = false;
  #wake = new AbortController();
  #isForced = false;

  constructor(parts: ClusterWatchParts) {
    this.#parts = parts;
  }

  /** Looks whether it is time; @param isForced it is */
  look(isForced = false): void {
    this.#isForced ||= isForced;
    this.#wake.abort();
  }

  readSoon(): void {
    const wasAwaited = this.#isAwaited();
    this.#awaitedUntilMs = this.#parts.clock.monotonicMs() + LIST_INTERVAL_MS;
    if (!wasAwaited) this.look();
  }

  #isAwaited(): boolean {
    return this.#parts.clock.monotonicMs() < this.#awaitedUntilMs;
  }

  get hasMembers(): boolean {
    return this.#hasMembers;
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#parts;
    const onAbort = (): void => this.look();
    signal.addEventListener("abort", onAbort, { once: true });
    let lastMs: number | undefined;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      const dueMs = lastMs === undefined || this.#isForced ? 0 : lastMs + this.#intervalMs();
      if (clock.monotonicMs() >= dueMs) {
        this.#isForced = false;
        await this.#round(signal);
        // Several coordinators and clusters do not ask in step.
        lastMs = clock.monotonicMs() + jittered(random, this.#intervalMs(), JITTER) - this.#intervalMs();
      } else {
        await sleep(clock, dueMs - clock.monotonicMs(), this.#wake.signal).catch(() => undefined);
      }
    }
    signal.removeEventListener("abort", onAbort);
  }

  status(): ClusterStatus {
    const nodes = [...this.#nodes.keys()].map((nodeId) => this.nodeOf(nodeId)!);
    const isKnown = this.#lastListMs !== undefined || this.#failure !== undefined;
    return {
      phase: this.#failure === undefined ? (isKnown ? "Available" : "Pending") : "Unavailable",
      reason: this.#failure?.reason ?? (isKnown ? "Answers" : "NotAskedYet"),
      message: this.#failure?.message ?? "",
      kubernetesVersion: this.#version,
      nodes: nodes.length,
      readyNodes: nodes.filter(({ ready }) => ready === "True").length,
      conditions: [],
    };
  }

  /** undefined: it is not among the cluster's nodes. */
  nodeOf(nodeId: string): KubernetesNode | undefined {
    const node = this.#nodes.get(nodeId);
    if (node === undefined || !this.#isStale()) return node;
    const message = this.#failure?.message ?? "the cluster's API has not answered for long";
    return { ...node, ready: "Unknown", reason: this.#failure?.reason ?? "ClusterUnreachable", message };
  }

  /** Unix milliseconds when asking for its nodes began, the last time that it answered; undefined: it never did. */
  get readAtMs(): number | undefined {
    return this.#readAtMs;
  }

  /** All of the cluster; undefined: it has not said, or not lately. */
  controlPlanes(): readonly ControlPlaneNode[] | undefined {
    return this.#isStale() || this.#failure !== undefined ? undefined : this.#controlPlanes;
  }

  /** Unix milliseconds. */
  readySinceMs(nodeId: string): number | undefined {
    return this.#readySinceMs.get(nodeId);
  }

  #isStale(): boolean {
    if (this.#failuresInRow >= STALE_AFTER_INTERVALS) return true;
    const ageMs = this.#parts.clock.monotonicMs() - (this.#lastListMs ?? 0);
    return ageMs > STALE_AFTER_INTERVALS * (this.#hasMembers ? LIST_INTERVAL_MS : IDLE_LIST_INTERVAL_MS);
  }

  #intervalMs(): number {
    if (this.#failure !== undefined) return this.#failuresInRow < STALE_AFTER_INTERVALS ? FAST_LIST_INTERVAL_MS : LIST_INTERVAL_MS;
    if (this.#isSettling() || this.#isAwaited()) return FAST_LIST_INTERVAL_MS;
    return this.#hasMembers ? LIST_INTERVAL_MS : IDLE_LIST_INTERVAL_MS;
  }

  #isSettling(): boolean {
    const { cluster, catalog, clock } = this.#parts;
    const holders = new Set<string>();
    for (const { value: record } of catalog.bootstrapTokens.values()) {
      if (record.cluster !== cluster) continue;
      holders.add(record.nodeId);
      this.#settling.set(record.nodeId, clock.monotonicMs() + SETTLING_MS);
    }
    for (const [nodeId, untilMs] of this.#settling) {
      const isReady = !holders.has(nodeId) && this.#nodes.get(nodeId)?.ready === "True";
      if (isReady || untilMs < clock.monotonicMs()) this.#settling.delete(nodeId);
    }
    return this.#settling.size > 0;
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { cluster, connections, clock, log } = this.#parts;
    const connection = await connections.to(cluster);
    if (!connection.ok) {
      this.#failed(connection.reason, connection.message);
      return;
    }
    const { api } = connection;
    try {
      if (this.#lastVersionMs === undefined || clock.monotonicMs() - this.#lastVersionMs > VERSION_INTERVAL_MS) {
        this.#version = await api.version(signal);
        this.#lastVersionMs = clock.monotonicMs();
      }
      const beganAtMs = clock.now();
      const listed = await api.nodes(signal);
      const members = this.#members();
      this.#readAtMs = beganAtMs;
      this.#take(members, listed);
      await this.#mark(members, listed, api, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (this.#failure === undefined) log.warn({ cluster, err: error }, "a cluster's API does not answer as it should");
      // Whatever one cluster sends must not end the watches of the others.
      const failed =
        error instanceof ClusterApiError ? error : new ClusterApiError("Failed", `its answer cannot be used: ${String(error)}`);
      const { reason, message } = refusalOf(cluster, failed);
      this.#failed(reason, message);
    }
  }

  #members(): readonly Member[] {
    const { cluster, catalog, fleet } = this.#parts;
    const members: Member[] = [];
    for (const { value: desired } of catalog.desired.values()) {
      const join = plannedJoin(desired);
      if (join?.spec.cluster !== cluster || !catalog.nodeRecords.has(desired.nodeId)) continue;
      members.push({ nodeId: desired.nodeId, nodeName: nodeNameOf(join, desired.nodeId, fleet), spec: join.spec });
    }
    this.#hasMembers = members.length > 0;
    return members;
  }

  #take(members: readonly Member[], listed: readonly ClusterNode[]): void {
    const { cluster, catalog, clock } = this.#parts;
    const byName = new Map(listed.map((node) => [node.name, node]));
    const before = new Map([...this.#nodes.keys()].map((nodeId) => [nodeId, this.nodeOf(nodeId)]));
    this.#failure = undefined;
    this.#failuresInRow = 0;
    this.#lastListMs = clock.monotonicMs();
    this.#nodes = new Map();
    this.#controlPlanes = listed
      .filter(({ labels }) => CONTROL_PLANE_LABELS.some((label) => label in labels))
      .map(({ name, ready }) => ({ nodeName: name, isReady: ready === "True" }));
    const adoption = catalog.objects("Cluster").get(cluster)?.value.metadata.uid ?? "";
    const expected = [...catalog.expectedNodes.values()].map(({ value }) => value).filter((record) => record.adoption === adoption);
    for (const { nodeId, nodeName } of members) {
      const node = byName.get(nodeName);
      if (node === undefined) continue;
      if (!isOurs(node, nodeId, adoption, expected)) {
        this.#tellUnclaimed(node, nodeId);
        continue;
      }
      const { ready, reason, message, kubeletVersion } = node;
      this.#nodes.set(nodeId, { cluster, nodeName, ready, reason, message, kubeletVersion });
    }
    this.#tellChanges(before);
  }

  /** A machine that says it joined as a Node to which no token of ours led, as one that was joined by hand: a person must say that this is true. */
  #tellUnclaimed(node: ClusterNode, nodeId: string): void {
    const { cluster, fleet, log } = this.#parts;
    const conditions = fleet.node(nodeId)?.conditions ?? [];
    if (node.annotations[NODE_MARK] !== undefined || this.#unclaimed.get(nodeId) === node.uid) return;
    if (!conditions.some(({ type, status }) => type === JOINED && status === "True")) return;
    this.#unclaimed.set(nodeId, node.uid);
    log.warn(
      { cluster, node: nodeId, kubernetesNode: node.name },
      `a machine says that it is a Node which did not come by a token of ours; if it is: kubectl annotate node ${node.name} ${NODE_MARK}=${nodeId}`,
    );
  }

  #failed(reason: string, message: string): void {
    const before = new Map([...this.#nodes.keys()].map((nodeId) => [nodeId, this.nodeOf(nodeId)]));
    this.#members();
    this.#failure = { reason, message };
    this.#failuresInRow += 1;
    this.#tellChanges(before);
  }

  #tellChanges(before: ReadonlyMap<string, KubernetesNode | undefined>): void {
    for (const nodeId of new Set([...before.keys(), ...this.#nodes.keys()])) {
      const [was, is] = [before.get(nodeId), this.nodeOf(nodeId)];
      if (is === undefined) this.#readySinceMs.delete(nodeId);
      else if (was?.ready !== is.ready) this.#readySinceMs.set(nodeId, this.#parts.clock.now());
      if (JSON.stringify(was) !== JSON.stringify(is)) this.#parts.changed(nodeId);
    }
  }

  async #mark(members: readonly Member[], listed: readonly ClusterNode[], api: ClusterApi, signal: AbortSignal): Promise<void> {
    const { catalog, clock, cluster, log } = this.#parts;
    const byName = new Map(listed.map((node) => [node.name, node]));
    for (const member of members) {
      // An old store's plans are no news.
      if (catalog.restored !== undefined) return;
      if (!this.#nodes.has(member.nodeId)) continue;
      try {
        if (!(await this.#markOne(member, byName.get(member.nodeName)!, api, signal))) continue;
        this.#unmarked.delete(member.nodeId);
      } catch (error) {
        if (signal.aborted || !(error instanceof ClusterApiError) || NO_USE_GOING_ON.has(error.code)) throw error;
        // What the cluster does not let one Node be is no reason to leave the others alone, nor to call the cluster unavailable.
        if (this.#unmarked.get(member.nodeId) !== error.message) {
          const about = { cluster, node: member.nodeId, kubernetesNode: member.nodeName, err: error };
          log.warn(about, "labels and taints of a Node cannot be brought to what its plan names");
        }
        this.#unmarked.set(member.nodeId, error.message);
        // Nor is it allowed for any other: the next round asks again.
        if (error.code === "Forbidden") return;
        continue;
      }
      log.info(
        { cluster, node: member.nodeId, kubernetesNode: member.nodeName },
        "labels and taints of a Node brought to what its plan names",
      );
      await sleep(clock, PATCH_PAUSE_MS, signal).catch(() => undefined);
    }
  }

  async #markOne({ nodeId, nodeName, spec }: Member, listed: ClusterNode, api: ClusterApi, signal: AbortSignal): Promise<boolean> {
    let node: ClusterNode | undefined = listed;
    for (let attempt = 1; node !== undefined && attempt <= PATCH_ATTEMPTS; attempt += 1) {
      const patch = markPatch(node, nodeId, spec);
      if (patch === undefined) return attempt > 1;
      try {
        await api.patchNode(nodeName, patch, signal);
        return true;
      } catch (error) {
        const code = error instanceof ClusterApiError ? error.code : undefined;
        // Deleted meanwhile: the next list shows it.
        if (code === "NotFound") return false;
        if (code !== "Conflict") throw error;
        node = await api.node(nodeName, signal);
      }
    }
    return false;
  }
}
