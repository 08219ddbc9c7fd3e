import { afterEach, describe, expect, it } from "vitest";
import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import {
  type ApplyPlan,
  type ConverseRequest,
  type ConverseResponse,
  decodePlan,
  type Event,
  Heartbeat,
  Hello,
  type Plan,
  PlanOutcome,
  ReportBatch,
} from "@drover/proto";
import type { NodeSet, Rollout } from "@drover/api";
import type { AgentPort } from "./bus/agent-port.ts";
import { memoryBus, type MemoryBus } from "./bus/memory-bus.ts";
import { type Coordinator, createCoordinator } from "./coordinator.ts";
import { Channel } from "./dispatch/channel.ts";
import { memorySnapshotStore } from "./ingest/snapshot-store.ts";
import type { DesiredNode, NodeRecord } from "./records.ts";
import { Refused } from "./refusal.ts";
import { memoryReportLog } from "./reportlog/memory-report-log.ts";
import { keys } from "./store/keys.ts";
import { memoryStore } from "./store/memory-store.ts";
import type { Store } from "./store/store.ts";
import { putJson, readJson } from "./store/values.ts";

const NODE_A = "aaaaaaaaaa";
const NODE_B = "bbbbbbbbbb";

class World {
  readonly clock = new VirtualClock();
  readonly store: Store = memoryStore();
  readonly bus: MemoryBus = memoryBus(this.clock, seededRandom(7));
  readonly reportLog = memoryReportLog();
  readonly snapshotStore = memorySnapshotStore();
  /** Of the whole world. */
  readonly ended = new AbortController();
  coordinator!: Coordinator;
  #life = new AbortController();
  running: Promise<void> = Promise.resolve();
  readonly agents = new Map<string, Agent>();

  async start(): Promise<void> {
    const { store, bus, clock, reportLog, snapshotStore } = this;
    this.#life = new AbortController();
    this.coordinator = createCoordinator({ store, bus, reportLog, snapshotStore, clock, random: seededRandom(1), log: silentLog });
    this.running = this.coordinator.run(this.#life.signal);
    await this.clock.advance(100);
    await this.coordinator.ready;
  }

  /** Another coordinator process on the same store, log and bus. */
  async restart(): Promise<void> {
    this.#life.abort();
    await this.clock.advance(1_000);
    await this.running;
    await this.start();
  }

  async enrol(nodeId: string, name: string, role = "web"): Promise<Agent> {
    const record: Partial<NodeRecord> = { nodeId, name, enrolledAtMs: this.clock.now(), natsPublicKey: "U", recoveredSerials: [] };
    const metadata = {
      name,
      uid: nodeId,
      labels: { role },
      generation: 1,
      creationTimestamp: new Date(this.clock.now()).toISOString(),
    };
    const object = { apiVersion: "drover.dev/v1alpha1", kind: "Node", metadata, spec: {} };
    await this.store.commit([putJson(keys.node(nodeId), record, 0), putJson(keys.object("Node", name), object, 0)]);
    const agent = new Agent(nodeId, this);
    this.agents.set(nodeId, agent);
    return agent;
  }

  apply(object: object) {
    return this.coordinator.operator.resources.apply(
      { json: Buffer.from(JSON.stringify(object)), expectedResourceVersion: 0, actor: "operator:test" },
      false,
    );
  }

  rollout(name: string): Rollout | undefined {
    return this.coordinator.operator.view.see("Rollout", name)?.object as Rollout | undefined;
  }

  currentPhase(): string | undefined {
    const rollouts = this.coordinator.operator.view.list("Rollout", undefined).map(({ object }) => object as Rollout);
    return rollouts.find(({ status }) => status?.phase !== "Superseded")?.status?.phase;
  }

  /** Time passes, and every agent beats each second. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 1_000) {
      for (const agent of this.agents.values()) agent.beat();
      await this.clock.advance(1_000);
    }
  }

  async stop(): Promise<void> {
    this.#life.abort();
    this.ended.abort();
    await this.clock.advance(1_000);
    await this.running;
    for (const { connected } of this.agents.values()) await connected;
    await this.store.close();
  }
}

/** As much of an agent as the coordinator can see. */
class Agent {
  readonly nodeId: string;
  readonly plans: Plan[] = [];
  stepKinds = ["sysctl", "containerd", "images"];
  acted = 0;
  readonly port: AgentPort;
  readonly connected: Promise<void>;
  #beats = 0;
  #reports = 0;
  readonly #world: World;

  constructor(nodeId: string, world: World) {
    this.nodeId = nodeId;
    this.#world = world;
    this.port = world.bus.agentPort(nodeId);
    this.connected = this.port.run(world.ended.signal);
  }

  beat(): void {
    this.port.publishHeartbeat(Heartbeat.encode({ seq: ++this.#beats, observedGeneration: this.acted, stateDigest: 0, flags: 1 }).finish());
  }

  converse(processId = Buffer.alloc(16, 1), accepted = { epoch: this.acted > 0 ? 1 : 0, generation: this.acted }) {
    const inbound = new Channel<ConverseRequest>(100);
    const hello = Hello.fromPartial({
      processId,
      stepKinds: this.stepKinds,
      acceptedEpoch: accepted.epoch,
      acceptedGeneration: accepted.generation,
    });
    inbound.push({ body: { $case: "hello", value: hello } });
    const heard: ConverseResponse[] = [];
    let failure: unknown;
    const ended = (async () => {
      try {
        for await (const response of this.#world.coordinator.converse(this.nodeId, inbound, this.#world.ended.signal)) heard.push(response);
      } catch (error) {
        failure = error;
      }
    })();
    return { inbound, heard, ended, failure: () => failure };
  }

  /** Fetches what is desired, as if it had been woken, and enforces it. */
  async obey(outcome: PlanOutcome = PlanOutcome.PLAN_OUTCOME_ENFORCED): Promise<Plan | undefined> {
    const session = this.converse();
    await this.#world.clock.advance(50);
    const instruction = session.heard.find(({ body }) => body?.$case === "applyPlan")?.body?.value as ApplyPlan | undefined;
    const decoded = instruction?.signedPlan === undefined ? undefined : decodePlan(instruction.signedPlan.plan);
    const plan = decoded?.ok ? decoded.plan : undefined;
    if (plan !== undefined) {
      this.plans.push(plan);
      const { planEpoch, generation } = plan;
      session.inbound.push({ body: { $case: "planAnswer", value: { planEpoch, generation, accepted: true, reason: "", message: "" } } });
      this.acted = generation;
      this.report(plan, outcome);
    }
    session.inbound.push({ body: { $case: "idle", value: {} } });
    await this.#world.clock.advance(50);
    await session.ended;
    return plan;
  }

  report({ planEpoch, generation, revision }: Plan, outcome: PlanOutcome): void {
    const event = (body: Event["body"]): Event => ({ atMs: this.#world.clock.now(), planEpoch, generation, body });
    const finished = { revision, outcome, reason: "", message: "", failedStep: "" };
    const batch = ReportBatch.fromPartial({
      nodeId: this.nodeId,
      outboxEpoch: Buffer.alloc(8, 5),
      seq: ++this.#reports,
      events: [event({ $case: "planAccepted", value: { revision } }), event({ $case: "planFinished", value: finished })],
    });
    this.port.publishReport(ReportBatch.encode(batch).finish());
  }
}

const profile = (somaxconn: number) => ({
  apiVersion: "drover.dev/v1alpha1",
  kind: "NodeProfile",
  metadata: { name: "web" },
  spec: { sysctl: { values: { "net.core.somaxconn": somaxconn } } },
});
const set = {
  apiVersion: "drover.dev/v1alpha1",
  kind: "NodeSet",
  metadata: { name: "web" },
  spec: { selector: { matchLabels: { role: "web" } }, profile: "web" },
};
const cluster = {
  apiVersion: "drover.dev/v1alpha1",
  kind: "Cluster",
  metadata: { name: "prod" },
  spec: { endpoint: "10.0.0.5:6443", caCertHashes: [`sha256:${"0".repeat(64)}`] },
};

describe("the coordinator on ports in memory", () => {
  let world: World;
  afterEach(() => world.stop());

  async function fleetOfTwo(): Promise<{ readonly a: Agent; readonly b: Agent }> {
    world = new World();
    await world.start();
    const a = await world.enrol(NODE_A, "a");
    const b = await world.enrol(NODE_B, "b");
    await world.pass(2_000);
    return { a, b };
  }

  it("moves nothing by a profile alone; a set makes the rollout, and nodes move one by one", async () => {
    const { a, b } = await fleetOfTwo();
    expect(await world.apply(profile(4096))).toMatchObject({ ok: true, outcome: "created", rollouts: [] });
    await world.pass(2_000);
    expect(world.coordinator.catalog.desired.size).toBe(0);

    expect(await world.apply(set)).toMatchObject({ ok: true, outcome: "created", rollouts: ["web-1"], affectedNodes: 2 });
    await world.pass(2_000);
    expect([...world.coordinator.catalog.desired.keys()]).toEqual([NODE_A]);
    expect(world.rollout("web-1")?.status?.waiting).toMatchObject([
      { node: "a", reason: "InChange" },
      { node: "b", reason: "BudgetSpent" },
    ]);

    expect(await a.obey()).toMatchObject({ nodeId: NODE_A, planEpoch: 1, generation: 1 });
    await world.pass(2_000);
    expect([...world.coordinator.catalog.desired.keys()].sort()).toEqual([NODE_A, NODE_B]);
    await b.obey();
    await world.pass(2_000);
    expect(world.rollout("web-1")?.status).toMatchObject({ phase: "Complete", updated: 2, total: 2 });
    const shown = world.coordinator.operator.view.see("NodeSet", "web")?.object as NodeSet;
    expect(shown.status).toMatchObject({ nodes: 2, updated: 2, inSync: 2 });

    const { heartbeats_total: beats, reports_folded_total: reports } = world.coordinator.totals();
    expect([(beats?.value ?? 0) >= 16, reports?.value]).toEqual([true, 2]);

    // Applied again: nothing to do. Changed: another rollout, another generation.
    expect(await world.apply(set)).toMatchObject({ outcome: "unchanged", rollouts: [] });
    expect(await world.apply(profile(8192))).toMatchObject({ outcome: "configured", rollouts: ["web-2"] });
    await world.pass(2_000);
    expect(world.rollout("web-1")?.status?.phase).toBe("Superseded");
    expect(await a.obey()).toMatchObject({ generation: 2 });
  });

  it("moves nothing for a rollout that is superseded while another set's commit is under way", async () => {
    world = new World();
    const second = { ...set, metadata: { name: "web-late" }, spec: { ...set.spec, selector: { matchLabels: { role: "late" } } } };
    const commit = world.store.commit.bind(world.store);
    let superseding: Promise<unknown> | undefined;
    world.store.commit = async (operations) => {
      const committed = await commit(operations);
      if (superseding === undefined && operations.some(({ key }) => key === keys.desired(NODE_A))) {
        superseding = world.apply({ ...second, spec: { ...second.spec, strategy: { soak: "1m" } } });
        await superseding;
      }
      return committed;
    };
    await world.start();
    await world.enrol(NODE_A, "a");
    await world.enrol(NODE_B, "b", "late");
    await world.apply(profile(4096));
    await Promise.all([world.apply(set), world.apply(second)]);
    await world.pass(5_000);
    expect(await superseding).toMatchObject({ ok: true, rollouts: ["web-late-2"] });
    expect(world.rollout("web-late-1")?.status?.phase).toBe("Superseded");
    expect(world.coordinator.catalog.desired.get(NODE_B)?.value).toMatchObject({ rollout: "web-late-2", generation: 1 });
  });

  it("lets nodes of a complete rollout join their cluster again, within the budget, by a plan that counts how often", async () => {
    const { a, b } = await fleetOfTwo();
    const { operator } = world.coordinator;
    const counts = ({ steps }: Plan): number[] => steps.flatMap(({ spec }) => (spec?.$case === "kubeadm" ? [spec.value.rejoin] : []));
    for (const agent of [a, b]) agent.stepKinds = ["sysctl", "kubeadm"];
    await world.apply(profile(4096));
    await world.apply(set);
    await world.pass(2_000);
    await expect(operator.rejoinNode("a", "operator:ann")).rejects.toThrow("NodeSet web of node a names no cluster");
    expect(await world.apply(cluster)).toMatchObject({ ok: true });
    expect(await world.apply({ ...set, spec: { ...set.spec, cluster: "prod" } })).toMatchObject({ ok: true, rollouts: ["web-2"] });
    for (const agent of [a, b]) {
      await world.pass(2_000);
      await agent.obey();
    }
    await world.pass(2_000);
    expect(world.rollout("web-2")?.status).toMatchObject({ phase: "Complete", updated: 2 });
    const finishedAt = world.rollout("web-2")?.status?.finishedAt;

    expect(await operator.rejoinNode("b", "operator:ann")).toMatchObject({ nodeId: NODE_B, rejoin: 1 });
    expect(await operator.rejoinNode(NODE_A, "operator:ann")).toMatchObject({ nodeId: NODE_A, rejoin: 1 });
    await world.pass(2_000);
    expect(world.rollout("web-2")?.status).toMatchObject({ phase: "Progressing", updated: 0, inChange: 1 });
    expect(world.rollout("web-2")?.status?.finishedAt).toBeUndefined();
    // Whoever was asked first is in change; the other waits, and says why.
    expect(world.rollout("web-2")?.status?.waiting).toMatchObject([
      { node: "a", reason: "BudgetSpent" },
      { node: "b", reason: "InChange" },
    ]);
    expect(counts((await b.obey())!)).toEqual([1]);
    await world.pass(2_000);
    expect(counts((await a.obey())!)).toEqual([1]);
    await world.pass(2_000);
    expect(world.rollout("web-2")?.status).toMatchObject({ phase: "Complete", updated: 2, inChange: 0 });
    expect(world.rollout("web-2")?.status?.finishedAt).not.toBe(finishedAt);
    expect([a.plans.map(counts), b.plans.map(counts)]).toEqual([
      [[0], [1]],
      [[0], [1]],
    ]);
  });

  it("sends nothing to an agent that lacks a step kind, and says so", async () => {
    const { a } = await fleetOfTwo();
    await world.apply(profile(4096));
    await world.apply(set);
    await world.pass(2_000);
    a.stepKinds = ["images"];
    expect(await a.obey()).toBeUndefined();
    await world.pass(2_000);
    expect(world.rollout("web-1")?.status?.waiting[0]).toMatchObject({ node: "a", reason: "Unsupported" });
    // I3: another agent may come at any moment, so it counts as in change, and nobody else begins.
    expect(world.coordinator.catalog.desired.has(NODE_B)).toBe(false);
  });

  it("stops deciding when a node knows more than the store, until that is accepted", async () => {
    const { a } = await fleetOfTwo();
    const session = a.converse(Buffer.alloc(16, 1), { epoch: 3, generation: 9 });
    await world.clock.advance(100);
    session.inbound.close();
    await world.apply(profile(4096));
    await world.apply(set);
    await world.pass(2_000);
    expect(world.coordinator.catalog.desired.size).toBe(0);
    expect(world.rollout("web-1")?.status).toMatchObject({ phase: "Stopped", reason: "RestoredFromBackup" });
    const shown = world.coordinator.operator.view.see("NodeSet", "web")?.object as NodeSet;
    expect(shown.status?.conditions).toContainEqual(expect.objectContaining({ type: "RestoredFromBackup", status: "True" }));

    // Accepted: a higher epoch, and a while to learn.
    await world.store.commit([
      putJson(keys.epoch, { planEpoch: 4, acceptedAtMs: world.clock.now() }),
      { type: "delete", key: keys.restored },
    ]);
    await world.pass(50_000);
    expect(world.coordinator.catalog.desired.size).toBe(0);
    await world.pass(12_000);
    expect(world.coordinator.catalog.desired.get(NODE_A)?.value).toMatchObject({ planEpoch: 4, generation: 1 });
  });

  it("leaves a node alone that claims to know more and is alone with it, and goes on with the others", async () => {
    const names = ["a", "b", "c", "d", "e", "f"];
    world = new World();
    await world.start();
    const agents: Agent[] = [];
    for (const name of names) agents.push(await world.enrol(name.repeat(10), name));
    await world.pass(2_000);
    const liar = agents[5]!.converse(Buffer.alloc(16, 1), { epoch: 7, generation: 1_000_000_000 });
    await world.clock.advance(100);
    liar.inbound.close();
    await world.apply(profile(4096));
    await world.apply(set);
    await world.pass(2_000);
    expect(world.coordinator.catalog.desired.size).toBe(0);
    await world.pass(62_000);
    expect(world.coordinator.catalog.restored).toBeUndefined();
    expect(world.coordinator.catalog.desired.size).toBeGreaterThan(0);
    const audit = await world.coordinator.operator.listAudit(100, "node:ffffffffff", "");
    expect(audit.map(({ action }) => action)).toEqual(["AheadOfStore"]);
  });

  it("keeps the older of two live sessions and raises the clone alarm", async () => {
    const { a } = await fleetOfTwo();
    const older = a.converse(Buffer.alloc(16, 1));
    await world.clock.advance(100);
    const newcomer = a.converse(Buffer.alloc(16, 2));
    await world.clock.advance(100);
    await newcomer.ended;
    expect((newcomer.failure() as Refused).refusal.reason).toBe("CloneSuspected");
    for (let again = 0; again < 5; again += 1) {
      const refused = a.converse(Buffer.alloc(16, 3 + again));
      await world.clock.advance(100);
      await refused.ended;
    }
    const alarms = await world.coordinator.operator.listAudit(100, `node:${NODE_A}`, "");
    expect(alarms.map(({ action }) => action)).toEqual(["CloneSuspected"]);
    expect(world.coordinator.sessions.isLive(NODE_A)).toBe(true);
    const shown = world.coordinator.operator.view.see("Node", "a")?.object;
    expect(shown?.status).toMatchObject({ conditions: expect.arrayContaining([expect.objectContaining({ type: "CloneSuspected" })]) });
    older.inbound.push({ body: { $case: "idle", value: {} } });
    await world.clock.advance(100);
    await older.ended;
    expect(world.coordinator.sessions.isLive(NODE_A)).toBe(false);
  });

  it("wakes a node until it has acted, ever more slowly", async () => {
    const { a } = await fleetOfTwo();
    const wakes: number[] = [];
    a.port.onToNode(({ body }) => {
      if (body?.$case === "wake") wakes.push(world.clock.monotonicMs());
    });
    await world.apply(profile(4096));
    await world.apply(set);
    await world.pass(60_000);
    expect(wakes.length).toBeGreaterThanOrEqual(3);
    expect(wakes.length).toBeLessThan(8);
    await a.obey();
    const before = wakes.length;
    await world.pass(60_000);
    expect(wakes.length).toBe(before);
  });

  it("refuses to delete what is in use, and shows two sets that want one node", async () => {
    await fleetOfTwo();
    await world.apply(profile(4096));
    await world.apply(set);
    const { resources, view } = world.coordinator.operator;
    const request = { kind: "NodeProfile", name: "web", expectedResourceVersion: 0, actor: "operator:test" } as const;
    expect(await resources.remove(request, false)).toMatchObject({ ok: false, reason: "InUse" });
    await world.clock.advance(5_000);
    expect(await world.apply({ ...set, metadata: { name: "also" } })).toMatchObject({
      ok: true,
      warnings: [expect.stringContaining("NodeSet/web"), expect.anything()],
    });
    const also = view.see("NodeSet", "also")?.object as NodeSet;
    expect(also.status).toMatchObject({
      nodes: 0,
      conditions: expect.arrayContaining([expect.objectContaining({ type: "SelectorConflict" })]),
    });
  });

  it("wakes a node for its logs, and gives up on one that does not come", async () => {
    const { a } = await fleetOfTwo();
    const chunks: string[] = [];
    const ended = new AbortController();
    const fetching = (async () => {
      for await (const chunk of world.coordinator.sessions.collectLogs(NODE_A, { step: "sysctl", maxBytes: 1000 }, ended.signal))
        chunks.push(chunk.toString());
    })();
    await world.clock.advance(10);
    // Hello and Idle in one breath: the node has nothing to do, and does not know yet what it was woken for.
    const session = a.converse();
    session.inbound.push({ body: { $case: "idle", value: {} } });
    await world.clock.advance(50);
    const asked = session.heard.find(({ body }) => body?.$case === "collectLogs")?.body;
    if (asked?.$case !== "collectLogs") throw new Error("the node was not asked for its logs");
    const { requestId } = asked.value;
    session.inbound.push({
      body: { $case: "logChunk", value: { requestId, offset: 0, chunk: Buffer.from("one "), last: false, reason: "" } },
    });
    session.inbound.push({
      body: { $case: "logChunk", value: { requestId, offset: 4, chunk: Buffer.from("two"), last: true, reason: "" } },
    });
    await world.clock.advance(50);
    await fetching;
    expect(chunks.join("")).toBe("one two");
    session.inbound.push({ body: { $case: "idle", value: {} } });
    await world.clock.advance(50);
    await session.ended;

    const failing = world.coordinator.sessions.dryRun(NODE_B, { plan: Buffer.alloc(0), signatures: [] }, ended.signal);
    const outcome = failing.then(
      () => "answered",
      (error: unknown) => (error instanceof Refused ? error.refusal.reason : String(error)),
    );
    await world.pass(31_000);
    expect(await outcome).toBe("Unreachable");
  });

  it("lets a watcher see stored changes and computed status alike", async () => {
    const { a } = await fleetOfTwo();
    const events: string[] = [];
    const ended = new AbortController();
    const watching = (async () => {
      const request = { kind: "Node", selector: undefined, name: "a", fromRevision: 0 } as const;
      for await (const event of world.coordinator.operator.watch(request, ended.signal)) {
        const phase = event.type === "bookmark" || event.object.kind !== "Node" ? "" : event.object.status?.phase;
        events.push(`${event.type} ${phase}`.trim());
      }
    })();
    await world.clock.advance(100);
    expect(events).toEqual(["added Pending", "bookmark"]);
    await world.apply(profile(4096));
    await world.apply(set);
    await world.pass(2_000);
    await a.obey();
    await world.pass(2_000);
    expect(events).toContain("modified Applying");
    expect(events.at(-1)).toBe("modified InSync");
    ended.abort();
    await watching;
  });

  it.each([1, 2, 3, 4, 5])(
    "I3: keeps to the budget through restarts, failures, rejoins and new profiles at random (seed %i)",
    async (seed) => {
      world = new World();
      await world.start();
      const random = seededRandom(seed);
      const pick = (count: number): number => Math.floor(random.unit() * count);
      const agents: Agent[] = [];
      for (const letter of "abcdef") agents.push(await world.enrol(letter.repeat(10), letter));
      for (const agent of agents) agent.stepKinds = ["sysctl", "kubeadm"];
      await world.pass(2_000);
      await world.apply(cluster);
      await world.apply(profile(1024));
      await world.apply({ ...set, spec: { ...set.spec, cluster: "prod", strategy: { maxUnavailable: 2 } } });
      let rejoins = 0;
      const rejoin = async (): Promise<void> => {
        const { nodeId } = agents[pick(6)]!;
        // Refused as long as the node has no plan.
        if (!world.coordinator.catalog.desired.has(nodeId)) return;
        await world.coordinator.operator.rejoinNode(nodeId, "operator:test");
        rejoins += 1;
      };
      for (let step = 0; step < 40; step += 1) {
        const chance = pick(11);
        if (chance === 0) await world.restart();
        else if (chance === 1) await world.apply(profile(1024 + pick(5)));
        else if (chance === 2) await rejoin();
        else if (chance < 9)
          await agents[pick(6)]!.obey(pick(8) === 0 ? PlanOutcome.PLAN_OUTCOME_REJECTED : PlanOutcome.PLAN_OUTCOME_ENFORCED);
        await world.pass(pick(3) * 1_000);
        const { entries } = await world.store.list(keys.allDesired);
        const inChange = entries.filter((entry) => {
          const { nodeId, generation } = readJson(entry) as DesiredNode;
          return world.agents.get(nodeId)!.acted !== generation;
        });
        expect(inChange.length).toBeLessThanOrEqual(2);
      }
      // Whatever happened: one more change, and everybody gets there.
      await world.apply(profile(65_535));
      for (let round = 0; round < 40 && world.currentPhase() !== "Complete"; round += 1) {
        for (const agent of agents) await agent.obey();
        await world.pass(1_000);
      }
      expect(world.currentPhase()).toBe("Complete");
      await rejoin();
      await rejoin();
      await world.pass(1_000);
      for (let round = 0; round < 10 && world.currentPhase() !== "Complete"; round += 1) {
        for (const agent of agents) await agent.obey();
        await world.pass(1_000);
      }
      expect(world.currentPhase()).toBe("Complete");
      const { desired, nodeRecords } = world.coordinator.catalog;
      const asked = agents.map(({ nodeId }) => nodeRecords.get(nodeId)?.value.rejoin ?? 0);
      expect(agents.map(({ nodeId }) => desired.get(nodeId)?.value.rejoin)).toEqual(asked);
      expect(asked.reduce((sum, count) => sum + count)).toBe(rejoins);
    },
  );
});
