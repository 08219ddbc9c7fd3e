import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Repair, Rollout } from "@drover/api";
import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import {
  ConverseRequest,
  CreateRepairsRequest,
  decodePlan,
  type Event,
  Heartbeat,
  Hello,
  PlanOutcome,
  ReportBatch,
  type RunRung,
} from "@drover/proto";
import type { AgentPort } from "../bus/agent-port.ts";
import { memoryBus } from "../bus/memory-bus.ts";
import { type Coordinator, createCoordinator } from "../coordinator.ts";
import { Channel } from "../dispatch/channel.ts";
import { memorySnapshotStore } from "../ingest/snapshot-store.ts";
import { memoryReportLog } from "../reportlog/memory-report-log.ts";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import { putJson } from "../store/values.ts";

const API = { apiVersion: "drover.dev/v1alpha1" };
const profile = (somaxconn: number) => ({
  ...API,
  kind: "NodeProfile",
  metadata: { name: "web" },
  spec: { sysctl: { values: { "net.core.somaxconn": somaxconn } } },
});
const spec = { selector: { matchLabels: { role: "web" } }, profile: "web", strategy: { maxUnavailable: 2 } };

describe("a whole coordinator that rolls out and repairs", () => {
  const clock = new VirtualClock();
  let ended: AbortController;
  let coordinator: Coordinator;
  let agents: readonly Agent[];

  /** Speaks all the time, enforces what it is given and does rungs when the test lets it. */
  class Agent {
    readonly port: AgentPort;
    readonly rungs: RunRung[] = [];
    readonly #id: string;
    readonly #inbound = new Channel<ConverseRequest>(100);
    #generation = 0;
    #seq = 0;
    #beats = 0;
    isEnforcing = true;

    constructor(id: string, port: AgentPort) {
      this.#id = id;
      this.port = port;
      void port.run(ended.signal);
      this.#say({ $case: "hello", value: Hello.fromPartial({ processId: Buffer.alloc(16, id.charCodeAt(3)), stepKinds: ["sysctl"] }) });
      void this.#listen();
    }

    beat(): void {
      this.port.publishHeartbeat(
        Heartbeat.encode({ seq: ++this.#beats, observedGeneration: this.#generation, stateDigest: 0, flags: 1 }).finish(),
      );
    }

    finishRung(): void {
      this.#say({ $case: "rungResult", value: { requestId: this.rungs.at(-1)!.requestId, done: true, reason: "", message: "restarted" } });
    }

    async #listen(): Promise<void> {
      for await (const { body } of coordinator.converse(this.#id, this.#inbound, ended.signal)) {
        if (body?.$case === "runRung") this.rungs.push(body.value);
        if (body?.$case === "collectEvidence") {
          const { requestId } = body.value;
          this.#say({ $case: "evidenceChunk", value: { requestId, offset: 0, chunk: Buffer.from("of the node"), last: true, reason: "" } });
        }
        if (body?.$case === "applyPlan") this.#apply(body.value.signedPlan!.plan);
      }
    }

    #apply(bytes: Uint8Array): void {
      const decoded = decodePlan(bytes);
      if (!decoded.ok) throw new Error("the plan does not decode");
      const { planEpoch, generation, revision } = decoded.plan;
      this.#generation = generation;
      this.#say({ $case: "planAnswer", value: { planEpoch, generation, accepted: true, reason: "", message: "" } });
      const event = (body: Event["body"]): Event => ({ atMs: clock.now(), planEpoch, generation, body });
      const finished = { revision, outcome: PlanOutcome.PLAN_OUTCOME_ENFORCED, reason: "", message: "", failedStep: "" };
      const events = [event({ $case: "planAccepted", value: { revision } }), event({ $case: "planFinished", value: finished })];
      const batch = ReportBatch.fromPartial({ nodeId: this.#id, outboxEpoch: Buffer.alloc(8, 5), seq: ++this.#seq, events });
      this.port.publishReport(ReportBatch.encode(batch).finish());
    }

    #say(body: ConverseRequest["body"]): void {
      this.#inbound.push({ body });
    }
  }

  beforeEach(async () => {
    ended = new AbortController();
    const store = memoryStore();
    const bus = memoryBus(clock, seededRandom(7));
    const rest = { reportLog: memoryReportLog(), snapshotStore: memorySnapshotStore(), clock, random: seededRandom(1), log: silentLog };
    coordinator = createCoordinator({ store, bus, ...rest });
    void coordinator.run(ended.signal);
    await clock.advance(100);
    await coordinator.ready;
    for (const name of ["a", "b"]) {
      const record = { nodeId: `id-${name}`, name, enrolledAtMs: 0, natsPublicKey: "U", recoveredSerials: [] };
      const metadata = { name, uid: `id-${name}`, labels: { role: "web" }, generation: 1 };
      await store.commit([
        putJson(keys.node(`id-${name}`), record),
        putJson(keys.object("Node", name), { ...API, kind: "Node", metadata, spec: {} }),
      ]);
    }
    await clock.advance(1_000);
    agents = ["a", "b"].map((name) => new Agent(`id-${name}`, bus.agentPort(`id-${name}`)));
    await apply(profile(1024));
    await pass(60);
    await apply({ ...API, kind: "NodeSet", metadata: { name: "web" }, spec });
    await pass(20);
  });
  afterEach(async () => {
    ended.abort();
    await clock.advance(1_000);
  });

  const apply = async (object: object): Promise<void> => {
    const request = { json: Buffer.from(JSON.stringify(object)), expectedResourceVersion: 0, actor: "operator:ann" };
    expect(await coordinator.operator.resources.apply(request, false)).toMatchObject({ ok: true });
  };
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second += 1) {
      for (const agent of agents) agent.beat();
      await clock.advance(1_000);
    }
  };
  const rollout = (name: string): Rollout => coordinator.operator.view.see("Rollout", name)?.object as Rollout;
  const repair = (): Repair => coordinator.operator.view.see("Repair", "a-1")?.object as Repair;
  const ask = (rungs: string[]) =>
    coordinator.operator.repairs.create(CreateRepairsRequest.fromPartial({ nodes: ["a"], rungs }), false, "operator:ann");
  const generationOf = (nodeId: string): number | undefined => coordinator.catalog.desired.get(nodeId)?.value.generation;

  it("moves no node that a repair has, and moves it when the repair has let it go", async () => {
    expect(rollout("web-1").status).toMatchObject({ phase: "Complete", updated: 2 });
    await ask(["RestartUnits"]);
    await pass(5);
    expect([agents[0]!.rungs.length, repair().status?.phase]).toEqual([1, "Running"]);
    await apply(profile(2048));
    await pass(10);
    expect([generationOf("id-a"), generationOf("id-b")]).toEqual([1, 2]);
    expect(rollout("web-2").status?.waiting).toContainEqual(expect.objectContaining({ node: "a", reason: "UnderRepair" }));
    agents[0]!.finishRung();
    await pass(60);
    expect(repair().status).toMatchObject({
      phase: "Succeeded",
      attempts: [{ outcome: "Helped", message: expect.stringContaining("RestartUnits") as string }],
    });
    expect(coordinator.catalog.maintenances.size).toBe(0);
    await pass(20);
    expect([generationOf("id-a"), rollout("web-2").status?.phase]).toEqual([2, "Complete"]);
  });

  it("reapplies by a generation of its own, which leaves the complete rollout complete", async () => {
    await ask(["Reapply"]);
    await pass(60);
    expect([generationOf("id-a"), repair().status?.phase]).toEqual([2, "Succeeded"]);
    expect(repair().status?.attempts).toMatchObject([{ rung: "Reapply", outcome: "Helped", generation: 2 }]);
    await pass(60);
    expect(rollout("web-1").status).toMatchObject({ phase: "Complete", updated: 2 });
  });
});
