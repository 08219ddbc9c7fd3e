/** Repair controllers on a real SQLite store and a virtual clock, with nodes that answer as a test says: for tests only. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NodeSet, Repair } from "@drover/api";
import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { Heartbeat, Plan, PlanOutcome, ReportBatch, RungResult, type RunRung } from "@drover/proto";
import { FleetState } from "../fleet/fleet-state.ts";
import type { Health } from "../fleet/fleet.ts";
import type { AuditEntry, DesiredNode, MaintenanceRecord } from "../records.ts";
import { Catalog } from "../resources/catalog.ts";
import { MembershipIndex } from "../resources/membership-index.ts";
import { keys } from "../store/keys.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import type { CommitResult, Store, StoreOperation } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { RepairController } from "./controller.ts";
import { type EvidenceStore, memoryEvidenceStore } from "./evidence-store.ts";
import type { NodeRequests } from "./node-side.ts";

const API = { apiVersion: "drover.dev/v1alpha1" };
const STEP_MS = 5_000;
const HEALTHY: Health = { verdict: "healthy", reason: "Beating" };

/** When a coordinator dies: at its n-th commit, before it is made or right after. */
export interface Death {
  readonly atCommit: number;
  readonly isAfter: boolean;
}

export class RepairSite {
  readonly clock = new VirtualClock();
  readonly evidence: EvidenceStore = memoryEvidenceStore();
  readonly health = new Map<string, Health>();
  /** What nodes have done, once for each request. */
  readonly done = new Map<string, RunRung>();
  /** How often they were asked. */
  asked = 0;
  answer: (nodeId: string, request: RunRung) => Promise<RungResult> = async (_nodeId, { requestId }) =>
    RungResult.create({ requestId, done: true, message: "restarted" });
  collect: NodeRequests["collectEvidence"] = async function* () {
    yield Buffer.from("bundle");
  };
  /** Called at each step of time. */
  eachStep: () => Promise<void> | void = () => undefined;
  readonly #sides: Side[] = [];
  readonly #directory: string;
  readonly store: Store;
  #beats = 0;
  readonly #reported = new Map<string, { batch: ReportBatch; seq: number }[]>();

  private constructor(directory: string) {
    this.#directory = directory;
    this.store = openSqliteStore(join(directory, "store.db"), { clock: this.clock });
  }

  static async make(): Promise<RepairSite> {
    return new RepairSite(await mkdtemp(join(tmpdir(), "drover-repair-")));
  }

  async enrol(name: string, zone = "a"): Promise<void> {
    const nodeId = `id-${name}`;
    const record = { nodeId, name, enrolledAtMs: 0, natsPublicKey: "U", recoveredSerials: [] };
    const labels = { role: "web", "topology.kubernetes.io/zone": zone };
    const node = { ...API, kind: "Node", metadata: { name, uid: nodeId, labels, generation: 1 }, spec: {} };
    const plan = Plan.create({ nodeId, planEpoch: 1, generation: 1, revision: "A", issuedAtMs: 1, expiresAtMs: 86_400_001 });
    const desired: DesiredNode = {
      nodeId,
      planEpoch: 1,
      generation: 1,
      revision: "A",
      nodeSet: "web",
      rollout: "web-1",
      plan: Buffer.from(Plan.encode(plan).finish()).toString("base64"),
      decidedAtMs: this.clock.now() - 7_200_000,
      enforcedAtMs: this.clock.now() - 7_200_000,
    };
    this.health.set(nodeId, HEALTHY);
    await this.store.commit([
      putJson(keys.node(nodeId), record),
      putJson(keys.object("Node", name), node),
      putJson(keys.desired(nodeId), desired),
    ]);
    this.enforces(nodeId, 1);
  }

  async set(remediation: Partial<NonNullable<NodeSet["spec"]["remediation"]>>, maxUnavailable = 10): Promise<void> {
    const defaults = { enabled: true, unhealthyFor: "1m", topologyKey: "topology.kubernetes.io/zone", allowControlPlaneDowntime: false };
    const strategy = { maxUnavailable, soak: "0s", progressDeadline: "10m", failureBudget: 0 };
    const given = { ...defaults, rungs: ["RestartUnits"], units: ["containerd.service"], ...remediation };
    const spec = { selector: { matchLabels: { role: "web" } }, profile: "web", strategy, remediation: given };
    await this.store.commit([putJson(keys.object("NodeSet", "web"), { ...API, kind: "NodeSet", metadata: { name: "web" }, spec })]);
  }

  /** A coordinator process starts. */
  async start(death?: Death): Promise<Side> {
    const side = new Side(this, this.#mortal(death));
    for (const [nodeId, told] of this.#reported) for (const { batch, seq } of told) side.fleet.foldReport(nodeId, batch, seq, 1);
    for (const [nodeId, health] of this.health) side.fleet.setHealth(nodeId, health);
    this.#sides.push(side);
    await side.start();
    return side;
  }

  /** The node has told that it enforces the generation. */
  enforces(nodeId: string, generation: number): void {
    const told = this.#reported.get(nodeId) ?? [];
    const event = { atMs: this.clock.now(), planEpoch: 1, generation };
    const finished = { revision: "A", outcome: PlanOutcome.PLAN_OUTCOME_ENFORCED, reason: "", message: "", failedStep: "" };
    const batch = ReportBatch.fromPartial({
      nodeId,
      outboxEpoch: Buffer.alloc(8, 5),
      seq: told.length + 1,
      events: [
        { ...event, body: { $case: "planAccepted", value: { revision: "A" } } },
        { ...event, body: { $case: "planFinished", value: finished } },
      ],
    });
    told.push({ batch, seq: batch.seq });
    this.#reported.set(nodeId, told);
    for (const { fleet } of this.#sides) {
      fleet.foldReport(nodeId, batch, batch.seq, 1);
      fleet.notify([nodeId]);
    }
  }

  /** Time passes until it is so. @throws when it is not within 4 hours */
  async until(isSo: () => Promise<boolean>): Promise<void> {
    for (let passed = 0; passed < 4 * 3_600_000; passed += STEP_MS) {
      if (await isSo()) return;
      await this.pass(STEP_MS);
    }
    throw new Error(`never so: ${JSON.stringify(await this.repairs())}`);
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      this.#beats += 1;
      await this.eachStep();
      for (const { fleet } of this.#sides) {
        const changed = [...this.health].flatMap(([nodeId, health]) => {
          const beat = Heartbeat.encode({ seq: this.#beats, observedGeneration: 1, stateDigest: 0, flags: 1 }).finish();
          const nowMs = this.clock.monotonicMs();
          if (health.reason !== "Silent") fleet.foldBeat(nodeId, { payload: beat, brokerMs: this.clock.now() }, nowMs, nowMs);
          return fleet.setHealth(nodeId, health) ? [nodeId] : [];
        });
        fleet.notify(changed);
      }
      await this.clock.advance(STEP_MS);
    }
  }

  async repairs(): Promise<readonly Repair[]> {
    return (await this.store.list(keys.objectsOf("Repair"))).entries.map((entry) => readJson(entry) as Repair);
  }

  async audit(): Promise<readonly string[]> {
    const { entries } = await this.store.list(keys.audits);
    return entries.map((entry) => readJson(entry) as AuditEntry).map(({ action, actor }) => `${action} by ${actor}`);
  }

  async desired(nodeId: string): Promise<DesiredNode> {
    return readJson((await this.store.get(keys.desired(nodeId)))!) as DesiredNode;
  }

  async record(nodeId: string): Promise<MaintenanceRecord | undefined> {
    const entry = await this.store.get(keys.maintenance(nodeId));
    return entry === undefined ? undefined : (readJson(entry) as MaintenanceRecord);
  }

  async runRung(nodeId: string, request: RunRung): Promise<RungResult> {
    this.asked += 1;
    const result = await this.answer(nodeId, request);
    this.done.set(request.requestId, request);
    return result;
  }

  async end(): Promise<void> {
    for (const side of this.#sides) side.stop();
    await this.clock.advance(60_000);
    await this.store.close();
    await rm(this.#directory, { recursive: true });
  }

  /** A store whose writer dies at a commit: from then on none of its writes ends, and none is made. */
  #mortal(death: Death | undefined): { readonly store: Store; readonly life: { commits: number; isDead: boolean } } {
    const life = { commits: 0, isDead: false };
    const never = new Promise<CommitResult>(() => undefined);
    const { store } = this;
    const commit = async (operations: readonly StoreOperation[]): Promise<CommitResult> => {
      if (life.isDead) return never;
      life.commits += 1;
      if (death === undefined || life.commits < death.atCommit) return store.commit(operations);
      life.isDead = true;
      if (death.isAfter) await store.commit(operations);
      return never;
    };
    const mortal: Store = {
      commit,
      get: (key) => store.get(key),
      list: (prefix) => store.list(prefix),
      watch: (prefix, from, signal) => store.watch(prefix, from, signal),
      close: () => store.close(),
    };
    return { store: mortal, life };
  }
}

class Side {
  readonly fleet = new FleetState();
  readonly life: { commits: number; isDead: boolean };
  readonly catalog: Catalog;
  readonly controller: RepairController;
  readonly decided: DesiredNode[] = [];
  readonly #ended = new AbortController();

  constructor(site: RepairSite, { store, life }: { readonly store: Store; readonly life: { commits: number; isDead: boolean } }) {
    this.life = life;
    this.catalog = new Catalog(store);
    this.controller = new RepairController({
      store,
      catalog: this.catalog,
      fleet: this.fleet,
      members: new MembershipIndex(this.catalog, this.fleet),
      clock: site.clock,
      random: seededRandom(site.clock.monotonicMs() + 1),
      log: silentLog,
      clusters: () => undefined,
      disruptionOf: () => undefined,
      requests: {
        runRung: (nodeId, request) => site.runRung(nodeId, request),
        collectEvidence: (nodeId, wanted, signal) => site.collect(nodeId, wanted, signal),
      },
      evidence: site.evidence,
      known: (nodeId, why) => Buffer.from(`known of ${nodeId}: ${why}`),
      decided: (desired) => this.decided.push(desired),
    });
  }

  async start(): Promise<void> {
    void this.catalog.run(this.#ended.signal);
    await this.catalog.reached(0);
    void this.controller.run(this.#ended.signal);
  }

  stop(): void {
    this.#ended.abort();
  }
}
