/** Rollout controllers on a real SQLite store and real folds, with nodes whose reports a test writes: for tests only. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DroverObject, Node, NodeProfile, NodeSet, Rollout } from "@drover/api";
import { revisionOf } from "@drover/api";
import { silentLog, VirtualClock } from "@drover/lifecycle";
import { ConditionStatus, type Event, Plan, PlanOutcome, ReportBatch } from "@drover/proto";
import { FleetState } from "../fleet/fleet-state.ts";
import type { DesiredNode, MaintenanceRecord, NodeRecord } from "../records.ts";
import { Catalog } from "../resources/catalog.ts";
import { MembershipIndex } from "../resources/membership-index.ts";
import { keys } from "../store/keys.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { RolloutController } from "./controller.ts";
import type { ClusterEvidence } from "./situation.ts";
import type { AskWebhook } from "./webhook.ts";

const API = { apiVersion: "drover.dev/v1alpha1" } as const;
const STEP_MS = 100;

/** What one coordinator process has. */
export interface Side {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly fleet: FleetState;
  readonly controller: RolloutController;
  readonly moved: DesiredNode[];
  stop(): Promise<void>;
}

export interface SideOptions {
  readonly clusters?: ClusterEvidence;
  readonly askWebhook?: AskWebhook;
  /** Around the store that this side writes to. */
  readonly wrap?: (store: Store) => Store;
}

interface RolloutMade {
  readonly name?: string;
  readonly set?: string;
  readonly spec?: Partial<NodeSet["spec"]>;
}

type StrategyFields = Partial<NodeSet["spec"]["strategy"]>;

export class RolloutSite {
  readonly clock = new VirtualClock();
  readonly sides: Side[] = [];
  readonly #directory: string;
  readonly #reports = new Map<string, number>();
  readonly #told: { readonly nodeId: string; readonly batch: ReportBatch; readonly seq: number; readonly atMs: number }[] = [];

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async make(): Promise<RolloutSite> {
    return new RolloutSite(await mkdtemp(join(tmpdir(), "drover-rollout-")));
  }

  /** A coordinator on the same file as all the others; it reads the whole log of reports when it starts. */
  async start({ clusters, askWebhook, wrap = (store) => store }: SideOptions = {}): Promise<Side> {
    const { clock } = this;
    const store = wrap(openSqliteStore(join(this.#directory, "store.db"), { clock }));
    const catalog = new Catalog(store);
    const fleet = new FleetState();
    const moved: DesiredNode[] = [];
    const controller = new RolloutController({
      store,
      catalog,
      fleet,
      members: new MembershipIndex(catalog, fleet),
      clock,
      log: silentLog,
      stepKinds: () => undefined,
      disruptionOf: () => undefined,
      clusters: () => clusters,
      askWebhook: askWebhook ?? (() => Promise.resolve({ isPassed: true, message: "" })),
      decided: (desired) => void moved.push(desired),
    });
    const ended = new AbortController();
    const following = catalog.run(ended.signal);
    await clock.advance(STEP_MS);
    await catalog.reached(0);
    for (const { value } of catalog.nodeRecords.values()) this.#becomeHealthy(fleet, value.nodeId);
    for (const { nodeId, batch, seq, atMs } of this.#told) fleet.foldReport(nodeId, batch, seq, atMs);
    const running = controller.run(ended.signal);
    const side: Side = {
      store,
      catalog,
      fleet,
      controller,
      moved,
      stop: async () => {
        ended.abort();
        await this.clock.advance(1_000);
        await running;
        await store.close();
        await following.catch(() => undefined);
        this.sides.splice(this.sides.indexOf(side), 1);
      },
    };
    this.sides.push(side);
    return side;
  }

  async remove(): Promise<void> {
    while (this.sides[0] !== undefined) await this.sides[0].stop();
    await rm(this.#directory, { recursive: true });
  }

  /** Time passes until something holds. @throws when it does not within ten minutes */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    for (let passedMs = 0; passedMs < 60_000; passedMs += STEP_MS) {
      if (await holds()) return;
      await this.clock.advance(STEP_MS);
    }
    throw new Error(`waited in vain until ${what}`);
  }

  /** Everybody has looked as often as they want to. */
  settle(ms = 3_000): Promise<void> {
    return this.clock.advance(ms);
  }

  async commit(operations: readonly StoreOperation[]): Promise<void> {
    const committed = await this.sides[0]!.store.commit(operations);
    if (!committed.ok) throw new Error(`conflict at ${committed.conflict.key}`);
    for (const { catalog } of this.sides) await this.until("the commit is seen", () => catalog.revision >= committed.revision);
  }

  /** Enrolled and healthy nodes, each with its labels; the name is the id. */
  async enrol(nodes: Readonly<Record<string, Readonly<Record<string, string>>>>): Promise<void> {
    const operations = Object.entries(nodes).flatMap(([name, labels]) => {
      const record: Partial<NodeRecord> = { nodeId: name, name };
      const node: Node = { ...API, kind: "Node", metadata: { name, uid: name, labels: { set: "web", ...labels } }, spec: {} };
      return [putJson(keys.node(name), record), putJson(keys.object("Node", name), node)];
    });
    for (let start = 0; start < operations.length; start += 100) await this.commit(operations.slice(start, start + 100));
    for (const { fleet } of this.sides) for (const name of Object.keys(nodes)) this.#becomeHealthy(fleet, name);
  }

  put(...objects: DroverObject[]): Promise<void> {
    return this.commit(objects.map((object) => putJson(keys.object(object.kind, object.metadata.name), object)));
  }

  /** Its rollout as applying it would have made it. */
  async rollOut(
    profile: NodeProfile,
    strategy: StrategyFields,
    { name = "web-1", set = "web", spec = {} }: RolloutMade = {},
  ): Promise<void> {
    const whole = { maxUnavailable: 1, soak: "0s", progressDeadline: "10m", failureBudget: 0, ...strategy };
    const selector = { matchLabels: { set } };
    const nodeSet: NodeSet = {
      ...API,
      kind: "NodeSet",
      metadata: { name: set },
      spec: { selector, profile: profile.metadata.name, strategy: whole, ...spec },
    };
    const rollout: Rollout = {
      ...API,
      kind: "Rollout",
      metadata: { name, uid: name, generation: 1 },
      spec: { nodeSet: set, profile: profile.metadata.name, revision: revisionOf(profile, []), strategy: whole },
      status: {
        phase: "Pending",
        reason: "Starting",
        message: "",
        total: 0,
        updated: 0,
        inChange: 0,
        failed: 0,
        waiting: [],
        observedGeneration: 1,
      },
    };
    const running = [...this.sides[0]!.catalog.objects("Rollout").values()].filter(({ value }) => value.spec.nodeSet === set);
    const superseded = running.map(({ value }): Rollout => ({ ...value, status: { ...value.status!, phase: "Superseded" } }));
    await this.put(profile, nodeSet, rollout, ...superseded);
  }

  rollout(name = "web-1"): NonNullable<Rollout["status"]> {
    return this.sides[0]!.catalog.objects("Rollout").get(name)!.value.status!;
  }

  desired(name: string): DesiredNode | undefined {
    return this.sides[0]!.catalog.desired.get(name)?.value;
  }

  plan(name: string): Plan {
    return Plan.decode(Buffer.from(this.desired(name)!.plan, "base64"));
  }

  async maintenance(name: string): Promise<MaintenanceRecord | undefined> {
    const entry = await this.sides[0]!.store.get(keys.maintenance(name));
    return entry && (readJson(entry) as MaintenanceRecord);
  }

  /** The node reports how its newest plan ended, and what it sees since. @param conditions True ones told after it */
  ends(name: string, outcome: "enforced" | "failed", conditions: readonly string[] = [], message = ""): void {
    const { planEpoch, generation, revision } = this.desired(name)!;
    const event = (body: Event["body"]): Event => ({ atMs: this.clock.now(), planEpoch, generation, body });
    const isEnforced = outcome === "enforced";
    this.report(name, [
      event({ $case: "planAccepted", value: { revision } }),
      event({
        $case: "planFinished",
        value: {
          revision,
          outcome: isEnforced ? PlanOutcome.PLAN_OUTCOME_ENFORCED : PlanOutcome.PLAN_OUTCOME_FAILED,
          reason: isEnforced ? "" : "Broken",
          message,
          failedStep: isEnforced ? "" : "sysctl",
        },
      }),
      ...conditions.map((type) =>
        event({
          $case: "condition",
          value: { type, status: ConditionStatus.CONDITION_STATUS_TRUE, reason: "", message: "", lastTransitionMs: 0 },
        }),
      ),
    ]);
  }

  /** Events of the node in one batch, to every side. */
  report(name: string, events: readonly Event[]): void {
    const seq = (this.#reports.get(name) ?? 0) + 1;
    this.#reports.set(name, seq);
    const batch = ReportBatch.fromPartial({ nodeId: name, outboxEpoch: Buffer.alloc(8, 1), seq, events: [...events] });
    this.#told.push({ nodeId: name, batch, seq, atMs: this.clock.now() });
    for (const { fleet } of this.sides) {
      fleet.foldReport(name, batch, seq, this.clock.now());
      fleet.notify([name]);
    }
  }

  #becomeHealthy(fleet: FleetState, nodeId: string): void {
    fleet.add(nodeId);
    fleet.setHealth(nodeId, { verdict: "healthy", reason: "Beating" });
    fleet.notify([nodeId]);
  }
}

export function profileOf(spec: NodeProfile["spec"], name = "web"): NodeProfile {
  return { ...API, kind: "NodeProfile", metadata: { name }, spec };
}

export const swappiness = (value: number): NodeProfile => profileOf({ sysctl: { values: { "vm.swappiness": value } } });
