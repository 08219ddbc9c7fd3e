/**
 * The coordinator's core on ports alone: what it decides, what it tells nodes, what it answers people. No socket, no file, no process: main.ts gives it
 * real ones, a simulation gives it memory and a virtual clock.
 */
import { type Clock, type Component, type Log, type Random, runGroup, sleep, withDeadline } from "@drover/lifecycle";
import { type ConverseRequest, type ConverseResponse, shardOf } from "@drover/proto";
import { auditOperation, keepAuditBounded } from "./audit/audit.ts";
import type { Bus } from "./bus/bus.ts";
import { createClusters } from "./cluster/adopted-clusters.ts";
import type { ConnectCluster } from "./cluster/cluster-connections.ts";
import type { Clusters } from "./cluster/clusters.ts";
import type { SecretBox } from "./cluster/secret-box.ts";
import { HigherPairs } from "./dispatch/higher-pairs.ts";
import { lackingKinds } from "./dispatch/planned-steps.ts";
import { Sessions } from "./dispatch/sessions.ts";
import { Waker } from "./dispatch/waker.ts";
import { FleetState } from "./fleet/fleet-state.ts";
import type { FleetView } from "./fleet/fleet.ts";
import type { DisruptionOf } from "./fleet/disruption.ts";
import { CellIndex } from "./fleet/node-cells.ts";
import type { HeartbeatPace } from "./fleet/health.ts";
import { createObserver, type Observer } from "./fleet/observer.ts";
import { secondPath } from "./fleet/second-paths.ts";
import { Suspects } from "./fleet/suspects.ts";
import type { ConnectTcp } from "./fleet/tcp-path.ts";
import { keepRevoked } from "./identity/revocation.ts";
import { createIngest, type Ingest } from "./ingest/ingest.ts";
import { OnceInAWhile } from "./ingest/once-in-a-while.ts";
import type { SnapshotStore } from "./ingest/snapshot-store.ts";
import type { Census, Totals } from "./metrics/metrics.ts";
import { ingestTotals } from "./metrics/ingest-totals.ts";
import { observerTotals } from "./metrics/observer-totals.ts";
import { MaintenanceWorker } from "./maintenance/maintenance-worker.ts";
import { operatorMaintenance } from "./maintenance/operator-maintenance.ts";
import type { AuditEntry, DesiredNode, NodeRecord, RestoredRecord } from "./records.ts";
import type { ReportLog } from "./reportlog/report-log.ts";
import { Catalog } from "./resources/catalog.ts";
import { MembershipIndex } from "./resources/membership-index.ts";
import { phaseOf } from "./resources/node-status.ts";
import { Resources } from "./resources/resources.ts";
import { View } from "./resources/view.ts";
import { watchObjects } from "./resources/watch.ts";
import { RepairController } from "./repair/controller.ts";
import { createRepairCalls } from "./repair/create-repair-calls.ts";
import { type EvidenceStore, memoryEvidenceStore } from "./repair/evidence-store.ts";
import { knownEvidence } from "./repair/known-evidence.ts";
import { RolloutController } from "./rollout/controller.ts";
import { createRolloutCalls } from "./rollout/create-rollout-calls.ts";
import type { AskWebhook } from "./rollout/webhook.ts";
import { coordinatorStatus } from "./rpc/coordinator-status.ts";
import { type OperatorCalls, operatorCalls } from "./rpc/operator-calls.ts";
import { keys } from "./store/keys.ts";
import type { Store } from "./store/store.ts";
import { putJson } from "./store/values.ts";

export interface CoordinatorParts {
  readonly store: Store;
  readonly reportLog: ReportLog;
  readonly bus: Bus;
  readonly snapshotStore: SnapshotStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** What new machines are told; undefined where nobody enrols. */
  readonly enrolment?: () => { readonly caPin: string; readonly endpoint: string };
  /** What adopted clusters are reached by; undefined where no cluster is taken into care. */
  readonly clusters?: { readonly box: SecretBox; readonly connect: ConnectCluster };
  /** What silent nodes are knocked at with; undefined: nobody is asked a second time, and silence ends in unknown. */
  readonly connectTcp?: ConnectTcp;
  /** What the webhooks of rollouts are asked with; undefined: no wave with a webhook passes. */
  readonly askWebhook?: AskWebhook;
  /** Where bundles of repairs lie; undefined: in memory. */
  readonly evidence?: EvidenceStore;
  /** How often nodes beat. Default: every 10 s, and 1,000 beats a second of all together. */
  readonly heartbeatPace?: HeartbeatPace;
  /** How many nodes may be connected at once; undefined: any number. */
  readonly maxSessions?: number;
  /** Default 10,000. */
  readonly keptAuditRecords?: number;
  /** Default 7 days or 2 GiB. */
  readonly keptReports?: { readonly ageMs: number; readonly bytes: number };
}

export interface Coordinator {
  /** Resolves when what is stored and logged has been read: from then on calls and sessions make sense. */
  readonly ready: Promise<void>;
  readonly fleet: FleetView;
  readonly catalog: Catalog;
  readonly sessions: Sessions;
  readonly operator: OperatorCalls;
  /** Until the signal aborts. @throws when the store or the report log fails */
  run(signal: AbortSignal): Promise<void>;
  /** One node's conversation; who it is was proved by the caller. */
  converse(nodeId: string, inbound: AsyncIterable<ConverseRequest>, signal: AbortSignal): AsyncIterable<ConverseResponse>;
  /** Why it cannot serve yet or any more; undefined: it can. */
  unready(): string | undefined;
  census(): Census;
  readonly totals: Totals;
}

const LOAD_DEADLINE_MS = 60_000;
const noWebhook: AskWebhook = () => Promise.resolve({ isPassed: false, message: "no webhook can be asked from here" });
const DEFAULT_AUDIT_RECORDS = 10_000;
const CLONE_AUDIT_PAUSE_MS = 600_000;
const FORGET_EVERY_MS = 60_000;

export function createCoordinator(parts: CoordinatorParts): Coordinator {
  return new CoordinatorCore(parts);
}

class CoordinatorCore implements Coordinator {
  readonly ready: Promise<void>;
  readonly fleet: FleetState;
  readonly catalog: Catalog;
  readonly sessions: Sessions;
  readonly operator: OperatorCalls;
  readonly totals: Totals;
  readonly #parts: CoordinatorParts;
  readonly #members: MembershipIndex;
  readonly #observer: Observer;
  readonly #ingest: Ingest;
  readonly #waker: Waker;
  readonly #controller: RolloutController;
  readonly #repairs: RepairController;
  readonly #clusters: Clusters | undefined;
  readonly #maintenance: MaintenanceWorker | undefined;
  readonly #higherPairs: HigherPairs;
  readonly #suspects: Suspects | undefined;
  readonly #nodeListeners = new Set<(nodeId: string) => void>();
  #becomeReady: () => void = () => undefined;
  #isReady = false;

  constructor(parts: CoordinatorParts) {
    this.#parts = parts;
    this.ready = new Promise((resolve) => {
      this.#becomeReady = resolve;
    });
    const { store, bus, clock, random, log } = parts;
    this.#higherPairs = new HigherPairs(clock);
    const catalog = new Catalog(store);
    const fleet = new FleetState(catalog.numbers);
    const knownNode = (nodeId: string): boolean =>
      catalog.nodeRecords.has(nodeId) && catalog.nodeRecords.field(nodeId, "revokedAtMs") === undefined;
    const desired = (nodeId: string): DesiredNode | undefined => catalog.desired.get(nodeId)?.value;
    const audit = (entry: AuditEntry): void => this.#audit(entry);
    const clonesAudited = new OnceInAWhile(CLONE_AUDIT_PAUSE_MS);
    const sessions = new Sessions({
      clock,
      random,
      log: log.child({ component: "sessions" }),
      bus,
      numbers: catalog.numbers,
      desired,
      takenOf: (nodeId, outboxEpoch) => fleet.takenOf(nodeId, outboxEpoch),
      budgetOf: (nodeId) => this.#observer.budgetOf(shardOf(nodeId)),
      joinCredential: parts.clusters && ((wanted, signal) => this.#clusters!.joinCredential(wanted, signal)),
      mayConfirm: (_nodeId, { rollout }) => catalog.objects("Rollout").get(rollout)?.value.spec.aborted !== true,
      events: {
        knowsMore: (nodeId, seen) => void this.#knowsMore(nodeId, seen),
        knowsNoMore: (nodeId) => this.#higherPairs.withdrawn(nodeId),
        cloneSuspected: (nodeId, message) => {
          // The newcomer comes again and again: it must not push out what else is recorded.
          if (!clonesAudited.may(nodeId, clock.monotonicMs())) return;
          audit({
            atMs: clock.now(),
            actor: `node:${nodeId}`,
            action: "CloneSuspected",
            target: `Node/${nodeId}`,
            outcome: "refused",
            message,
          });
        },
        changed: (nodeId, areKindsNew) => {
          this.#waker.sessionChanged(nodeId);
          this.#nodeChanged(nodeId);
          if (areKindsNew) this.#controller.look(nodeId);
        },
      },
    });
    const stepKinds = (nodeId: string): readonly string[] | undefined => sessions.stepKinds(nodeId);
    const members = new MembershipIndex(catalog, fleet);
    this.#members = members;
    const disruptionOf: DisruptionOf = (nodeId) => this.#observer.disruptionOf(nodeId);
    const view = new View({ catalog, fleet, sessions, members, clock, disruptionOf, clusters: () => this.#clusters });
    const resources = new Resources({ store, catalog, view, members, clock, random, log });
    const clusters =
      parts.clusters &&
      createClusters({ store, catalog, fleet, resources, clock, random, log: log.child({ component: "clusters" }), ...parts.clusters });
    clusters?.onChange((nodeId) => {
      this.#nodeChanged(nodeId);
      this.#controller.look(nodeId);
    });
    this.#maintenance =
      clusters && new MaintenanceWorker({ store, catalog, members, clusters, clock, random, log: log.child({ component: "maintenance" }) });
    this.catalog = catalog;
    this.#clusters = clusters;
    this.fleet = fleet;
    this.sessions = sessions;
    const path = parts.connectTcp && {
      path: secondPath({ connect: parts.connectTcp, clusters: () => this.#clusters, members, fleet, clock }),
      clock,
      log: log.child({ component: "suspects" }),
    };
    this.#suspects = path && new Suspects(path);
    const cells = new CellIndex(catalog, fleet);
    this.#observer = createObserver({
      bus,
      fleet,
      knownNode,
      cellsOf: (nodeId) => cells.of(nodeId),
      suspects: this.#suspects,
      pace: parts.heartbeatPace,
      reportLagMs: () => this.#ingest.lagMs(),
      clock,
      random,
      log: log.child({ component: "observer" }),
    });
    this.#ingest = createIngest({
      bus,
      reportLog: parts.reportLog,
      fleet,
      clock,
      random,
      log: log.child({ component: "ingest" }),
      snapshotStore: parts.snapshotStore,
      audit,
      knownNode,
      ...(parts.keptReports === undefined ? {} : { keep: parts.keptReports }),
    });
    this.#waker = new Waker({
      bus,
      clock,
      random,
      fleet,
      catalog,
      isLive: (nodeId) => sessions.isLive(nodeId),
      isBarred: (nodeId) => catalog.restored !== undefined || !knownNode(nodeId) || this.#lacksKinds(nodeId),
      // A tenth is for those who come unasked.
      sessionsLeft: parts.maxSessions === undefined ? undefined : () => 0.9 * parts.maxSessions! - sessions.liveCount,
    });
    this.#controller = new RolloutController({
      store,
      catalog,
      fleet,
      members,
      clock,
      log: log.child({ component: "rollout" }),
      stepKinds,
      disruptionOf,
      clusters: () => this.#clusters,
      askWebhook: parts.askWebhook ?? noWebhook,
      heldUntilMs: () => this.#higherPairs.heldUntilMs,
      decided: (decision) => {
        if (!sessions.tell(decision.nodeId)) this.#waker.decided(decision);
      },
    });
    const evidence = parts.evidence ?? memoryEvidenceStore();
    this.#repairs = new RepairController({
      store,
      catalog,
      fleet,
      members,
      clusters: () => this.#clusters,
      disruptionOf,
      requests: sessions,
      evidence,
      heldUntilMs: () => this.#higherPairs.heldUntilMs,
      known: (nodeId, why) =>
        knownEvidence({ catalog, fleet, view, clock, opinionOf: (node) => this.#suspects?.opinionOf(node) ?? "none" }, nodeId, why),
      clock,
      random,
      log: log.child({ component: "repair" }),
      decided: (decision) => {
        if (!sessions.tell(decision.nodeId)) this.#waker.decided(decision);
      },
    });
    const onNodeChange = (listen: (nodeId: string) => void): (() => void) => {
      this.#nodeListeners.add(listen);
      return () => this.#nodeListeners.delete(listen);
    };
    this.operator = operatorCalls({
      store,
      bus,
      catalog,
      fleet,
      view,
      resources,
      sessions,
      members,
      clusters,
      status: () => coordinatorStatus(this.#observer),
      rollouts: createRolloutCalls({ store, catalog, fleet, members, view, clock, random, log }),
      maintenance: operatorMaintenance({ store, catalog, clusters: () => this.#clusters, clock, random, log }),
      repairs: createRepairCalls({ store, catalog, members, view, requests: sessions, evidence, clock, random, log }),
      clock,
      random,
      log,
      watch: (request, signal) => watchObjects({ catalog, fleet, view, onNodeChange }, request, signal),
      enrolment: parts.enrolment,
    });
    this.totals = () => this.#totals();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#parts;
    const loading: Component = {
      name: "core",
      run: async (loaded) => {
        await withDeadline(clock, "reading the store", LOAD_DEADLINE_MS, loaded, () => this.catalog.reached(0));
        await store.commit([putJson(keys.epoch, { planEpoch: 1 }, 0)]);
        this.#followNodes();
        await this.#ingest.recover();
        this.#isReady = true;
        this.#becomeReady();
        await this.#members.prepare();
        await runGroup(this.#components(), loaded);
      },
    };
    try {
      await runGroup([{ name: "catalog", run: (ended) => this.catalog.run(ended) }, loading], signal);
    } finally {
      this.#isReady = false;
    }
  }

  #components(): readonly Component[] {
    const { store, bus, clock, random, log, keptAuditRecords } = this.#parts;
    const clusters = this.#clusters;
    const maintenance = this.#maintenance;
    const suspects = this.#suspects;
    const keep = keptAuditRecords ?? DEFAULT_AUDIT_RECORDS;
    return [
      { name: "observer", run: (signal) => this.#observer.run(signal) },
      ...(suspects === undefined ? [] : [{ name: "suspects", run: (signal: AbortSignal) => suspects.run(signal) }]),
      { name: "ingest", run: (signal) => this.#ingest.run(signal) },
      { name: "memory", run: (signal) => this.#forgetUnused(signal) },
      { name: "audit", run: (signal) => keepAuditBounded({ store, clock, keep }, signal) },
      { name: "revocation", run: (signal) => keepRevoked({ store, bus, clock, random, log }, signal) },
      { name: "waker", run: (signal) => this.#waker.run(signal) },
      { name: "rollout", run: (signal) => this.#controller.run(signal) },
      { name: "repair", run: (signal) => this.#repairs.run(signal) },
      ...(clusters === undefined ? [] : [{ name: "clusters", run: (signal: AbortSignal) => clusters.run(signal) }]),
      ...(maintenance === undefined ? [] : [{ name: "maintenance", run: (signal: AbortSignal) => maintenance.run(signal) }]),
    ];
  }

  converse(nodeId: string, inbound: AsyncIterable<ConverseRequest>, signal: AbortSignal): AsyncIterable<ConverseResponse> {
    return this.sessions.converse(nodeId, inbound, signal);
  }

  unready(): string | undefined {
    if (!this.#isReady) return "still reading what is stored";
    return this.#parts.bus.isConnected ? undefined : "no connection to NATS";
  }

  census(): Census {
    const { catalog, fleet, sessions } = this;
    const nodesByPhase = new Map<string, number>();
    const nodesByHealth = new Map<string, number>();
    // Not through the view: of 100,000 nodes nobody needs the whole status for a number.
    for (const { value } of catalog.objects("Node").values()) {
      const nodeId = value.metadata.uid ?? "";
      const observed = fleet.node(nodeId);
      const phase = phaseOf({ record: catalog.nodeRecords.look(nodeId), desired: catalog.desired.look(nodeId), observed });
      const verdict = observed?.health.verdict ?? "unknown";
      nodesByPhase.set(phase, (nodesByPhase.get(phase) ?? 0) + 1);
      nodesByHealth.set(verdict, (nodesByHealth.get(verdict) ?? 0) + 1);
    }
    return {
      nodesByPhase,
      nodesByHealth,
      rolloutsByPhase: tally([...catalog.objects("Rollout").values()].map(({ value }) => value.status?.phase ?? "Pending")),
      repairsByPhase: tally([...catalog.objects("Repair").values()].map(({ value }) => value.status?.phase ?? "Pending")),
      remediationHeld: this.#repairs.held.byReason,
      liveSessions: sessions.liveCount,
      outstandingNodes: this.#waker.outstandingCount,
      wakesSent: this.#waker.sentCount,
      isRestoredFromBackup: catalog.restored !== undefined,
      storeRevision: catalog.revision,
      isBusConnected: this.#parts.bus.isConnected,
    };
  }

  #totals(): ReturnType<Totals> {
    return {
      ...ingestTotals(this.#ingest),
      nodes_ahead_of_store: {
        help: "Nodes that tell a higher generation than the store has, and are left alone.",
        value: this.#higherPairs.count,
      },
      heartbeats_total: { help: "Heartbeats of nodes taken.", value: this.#observer.beatCount },
      ...observerTotals(this.#observer, this.#suspects?.counts),
    };
  }

  #nodeChanged(nodeId: string): void {
    for (const listen of this.#nodeListeners) listen(nodeId);
  }

  /** Nodes that are enrolled are in the fleet, whether they were heard of or not; those whose record is gone are not. */
  #followNodes(): void {
    for (const nodeId of this.catalog.nodeRecords.keys()) this.fleet.add(nodeId);
    this.catalog.onChange((changes) => {
      for (const { key, isDeleted } of changes) {
        if (!key.startsWith(keys.nodes)) continue;
        const nodeId = key.slice(keys.nodes.length);
        if (isDeleted) this.fleet.forget(nodeId);
        else this.fleet.add(nodeId);
      }
    });
  }

  async #forgetUnused(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#parts.clock, FORGET_EVERY_MS, signal).catch(() => undefined);
      this.catalog.forgetUnused();
    }
  }

  #lacksKinds(nodeId: string): boolean {
    const desired = this.catalog.desired.get(nodeId)?.value;
    const kinds = this.sessions.stepKinds(nodeId);
    return desired !== undefined && kinds !== undefined && lackingKinds(desired, kinds).length > 0;
  }

  async #knowsMore(nodeId: string, told: { readonly planEpoch: number; readonly generation: number }): Promise<void> {
    const { store, bus, clock, random, log } = this.#parts;
    // Decisions are stopped already; all of a large fleet may say so now.
    if (this.catalog.restored !== undefined) return;
    const own = this.catalog.desired.get(nodeId)?.value ?? { planEpoch: 0, generation: 0 };
    const valid = (): string[] => [...this.catalog.nodeRecords].filter(([, { value }]) => isValid(value)).map(([each]) => each);
    // A backup was accepted: whatever is decided next outranks it.
    if (told.planEpoch < this.catalog.planEpoch.value) return this.#higherPairs.withdrawn(nodeId);
    const believed = this.#higherPairs.claimed(nodeId, told, valid);
    if (believed.verdict === "alone") {
      if (!believed.isNew) return;
      const message = `it tells (${told.planEpoch}, ${told.generation}), above our (${own.planEpoch}, ${own.generation}), and no other node does; it is left alone`;
      log.warn({ node: nodeId, ...told, asked: believed.ask.length }, "a node knows more than this store, and it alone");
      this.#audit({
        atMs: clock.now(),
        actor: `node:${nodeId}`,
        action: "AheadOfStore",
        target: `Node/${nodeId}`,
        outcome: "refused",
        message,
      });
      for (const each of believed.ask) bus.wake(each, { generation: 0, delayMs: 0, sessionWanted: true });
      return;
    }
    const { seen } = believed;
    const atMs = clock.now();
    const record: RestoredRecord = {
      nodeId,
      seenEpoch: seen.planEpoch,
      seenGeneration: seen.generation,
      ownEpoch: own.planEpoch,
      ownGeneration: own.generation,
      atMs,
    };
    const message = `(${seen.planEpoch}, ${seen.generation}) is above our (${own.planEpoch}, ${own.generation}); told by ${believed.nodeIds.length}`;
    const entry: AuditEntry = {
      atMs,
      actor: `node:${nodeId}`,
      action: "RestoredFromBackup",
      target: `Node/${nodeId}`,
      outcome: "refused",
      message,
    };
    try {
      const committed = await store.commit([putJson(keys.restored, record, 0), auditOperation(entry, random)]);
      if (committed.ok) log.error({ node: nodeId, ...seen }, "a node knows more than this store: all decisions stop");
    } catch (error) {
      log.error({ node: nodeId, err: error }, "could not record that a node knows more than this store");
    }
  }

  #audit(entry: AuditEntry): void {
    const { store, random, log } = this.#parts;
    store.commit([auditOperation(entry, random)]).catch((error: unknown) => log.error({ err: error }, "audit record could not be written"));
  }
}

function isValid(record: NodeRecord | undefined): boolean {
  return record !== undefined && record.revokedAtMs === undefined;
}

function tally(values: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}
