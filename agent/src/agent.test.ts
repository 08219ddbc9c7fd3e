import { gunzipSync } from "node:zlib";
import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { type Budget, ConverseRequest, type ConverseResponse, Facts, Heartbeat, Impact, Plan, ReportBatch, ToNode } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { type Agent, createAgent } from "./agent.ts";
import { FakeCrash, type FakeHost, fakeHost, fakeSteps } from "./fake/index.ts";
import type { AgentBus, Conversation } from "./ports.ts";
import { type Failpoint, failpointFrom } from "./reconcile/failpoints.ts";
import { MemoryStateDirectory } from "./state/index.ts";

const NODE = "abcdefghij";

function planOf(generation: number, value = String(generation)): Buffer {
  const steps = [{ id: "sysctl", spec: { $case: "sysctl" as const, value: { values: { "vm.swappiness": value } } } }];
  const plan = Plan.fromPartial({
    nodeId: NODE,
    planEpoch: 1,
    generation,
    revision: `r${generation}`,
    impactBound: Impact.IMPACT_LIVE,
    steps,
  });
  return Buffer.from(Plan.encode(plan).finish());
}

/** Coordinator and NATS for one node, in memory. */
class World {
  readonly clock = new VirtualClock();
  readonly state = new MemoryStateDirectory();
  readonly host: FakeHost = fakeHost({ sysctls: { "vm.swappiness": "60" } });
  readonly transcript: string[] = [];
  readonly beats: Heartbeat[] = [];
  readonly reports: ReportBatch[] = [];
  readonly said: ConverseRequest[] = [];
  isBusUp = true;
  isCoordinatorUp = true;
  desired: Buffer | undefined;
  /** What else to instruct in the next session. */
  instructions: NonNullable<ConverseResponse["body"]>[] = [];
  agent: Agent | undefined;
  #toNode: (message: ToNode) => void = () => undefined;
  #onConnected: () => void = () => undefined;
  #stop: AbortController | undefined;
  #ended: Promise<unknown> = Promise.resolve();

  start(failpoint?: Failpoint): void {
    const { clock } = this;
    const isUp = (): boolean => this.isBusUp;
    const bus: AgentBus = {
      get isConnected() {
        return isUp();
      },
      publishHeartbeat: (bytes) => void this.beats.push(Heartbeat.decode(bytes)),
      publishReport: (bytes) => {
        const batch = ReportBatch.decode(bytes);
        this.#note(`report ${batch.seq} ${batch.events.map((event) => event.body?.$case).join(" ")}`);
        if (!this.reports.some((known) => known.seq === batch.seq && known.outboxEpoch.equals(batch.outboxEpoch))) this.reports.push(batch);
        clock.setTimer(50, () => this.#toNode({ body: { $case: "ack", value: { outboxEpoch: batch.outboxEpoch, seq: batch.seq } } }));
        return true;
      },
      onToNode: (listen) => {
        this.#toNode = listen;
      },
      onBudget: (_listen: (budget: Budget) => void) => undefined,
      onConnected: (listen) => {
        this.#onConnected = listen;
      },
      run: (signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true })),
    };
    this.agent = createAgent({
      nodeId: NODE,
      agentVersion: "0.1.0",
      host: this.host,
      steps: fakeSteps(),
      state: this.state.session(),
      bus,
      sessions: { open: async () => this.#open() },
      clock,
      random: seededRandom(7),
      log: silentLog,
      facts: async () => Facts.fromPartial({ hostname: "h" }),
      processId: Buffer.alloc(16, 1),
      ...(failpoint === undefined ? {} : { failpoint }),
    });
    this.#stop = new AbortController();
    this.#ended = this.agent.run(this.#stop.signal).catch((error: unknown) => error);
  }

  async stop(): Promise<unknown> {
    this.#stop?.abort(new Error("stop"));
    await this.clock.advance(1000);
    return this.#ended;
  }

  async crash(): Promise<void> {
    this.state.crash({ untrim: true });
    this.#stop?.abort(new Error("killed"));
    await this.clock.advance(60_000);
    this.host.effects.revive();
  }

  wake(generation: number, parts: { delayMs?: number; sessionWanted?: boolean } = {}): void {
    this.#toNode({ body: { $case: "wake", value: { generation, delayMs: 0, sessionWanted: false, ...parts } } });
  }

  reconnect(): void {
    this.isBusUp = true;
    this.isCoordinatorUp = true;
    this.#onConnected();
  }

  acknowledge(outboxEpoch: Buffer, seq: number): void {
    this.#toNode({ body: { $case: "ack", value: { outboxEpoch, seq } } });
  }

  events(kind: string): unknown[] {
    return this.reports.flatMap((batch) => batch.events).flatMap(({ body }) => (body?.$case === kind ? [body.value] : []));
  }

  #open(): Conversation {
    if (!this.isCoordinatorUp) throw new Error("unreachable");
    const waiting: ConverseResponse[] = [];
    let wake: () => void = () => undefined;
    const session = { isOver: false };
    const push = (body: NonNullable<ConverseResponse["body"]>): void => {
      waiting.push({ body });
      wake();
    };
    return {
      send: async (message) => {
        this.said.push(message);
        this.#note(`said ${message.body?.$case}`);
        if (message.body?.$case === "hello") {
          push({ $case: "welcome", value: { nowMs: Math.floor(this.clock.now()), budget: undefined } });
          const known = message.body.value.acceptedGeneration;
          if (this.desired !== undefined && Plan.decode(this.desired).generation !== known) {
            push({ $case: "applyPlan", value: { signedPlan: { plan: this.desired, signatures: [] } } });
          }
          for (const body of this.instructions.splice(0)) push(body);
        }
        if (message.body?.$case === "idle") {
          session.isOver = true;
          wake();
        }
      },
      async *received() {
        while (!session.isOver || waiting.length > 0) {
          if (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve));
          yield* waiting.splice(0);
        }
      },
      close: () => {
        session.isOver = true;
        wake();
      },
    };
  }

  #note(line: string): void {
    this.transcript.push(`${this.clock.monotonicMs().toFixed(3)} ${line}`);
  }
}

/** Progress aside: how much of it there is, is up to the steps. */
const saidKinds = (world: World): (string | undefined)[] =>
  world.said.map((message) => message.body?.$case).filter((kind) => kind !== "progress");

describe("an agent", () => {
  it("greets, takes a plan, enforces it, reports that, says that it is idle, and beats the new generation at once", async () => {
    const world = new World();
    world.desired = planOf(1);
    world.start();
    await world.clock.advance(8_000);
    expect(saidKinds(world)).toEqual(["hello", "planAnswer", "idle"]);
    const shown = world.said.flatMap(({ body }) => (body?.$case === "progress" ? [`${body.value.step} ${body.value.phase}`] : []));
    expect(shown).toEqual(["sysctl 1", "sysctl 2", "sysctl 3"]);
    expect(world.host.kernel.value("vm.swappiness")).toBe("1");
    expect(world.events("planFinished")).toMatchObject([{ outcome: 1, revision: "r1" }]);
    expect(world.events("facts")).toMatchObject([{ hostname: "h" }]);
    expect(world.beats.at(-1)).toMatchObject({ observedGeneration: 1 });
    await world.clock.advance(12_000);
    expect(world.beats.at(-1)).toMatchObject({ observedGeneration: 1, flags: 1 });
    expect(world.agent?.status()).toMatchObject({
      enforced: { generation: 1 },
      unacknowledgedBatches: 0,
      isSessionOpen: false,
      clockOffsetMs: 0,
    });
    expect(await world.stop()).toBeUndefined();
  });

  it("that is stopped while its state is read leaves nothing behind that would keep its process alive", async () => {
    const world = new World();
    world.start();
    await world.stop();
    const writes = world.state.writes;
    await world.clock.advance(60_000);
    expect([world.state.writes - writes, world.transcript]).toEqual([0, []]);
  });

  it("tells all it knows again, in a new outbox, when it is idle and the coordinator has lost its reports", async () => {
    const world = new World();
    world.desired = planOf(1);
    world.start();
    await world.clock.advance(20_000);
    const { outboxEpoch } = world.reports.at(-1)!;
    expect(world.agent?.status()?.unacknowledgedBatches).toBe(0);
    world.reports.splice(0);
    world.acknowledge(outboxEpoch, 0);
    await world.clock.advance(10_000);
    expect(world.reports).toEqual([]);
    world.acknowledge(outboxEpoch, 0);
    await world.clock.advance(10_000);
    expect(world.reports[0]?.outboxEpoch.equals(outboxEpoch)).toBe(false);
    expect(world.events("planFinished")).toMatchObject([{ outcome: 1, revision: "r1" }]);
    expect(world.events("facts")).toMatchObject([{ hostname: "h" }]);
    expect(world.events("condition")).not.toEqual([]);
    await world.stop();
  });

  it("opens a session when woken, after the delay it is given, and not for a generation that it has", async () => {
    const world = new World();
    world.desired = planOf(1);
    world.start();
    await world.clock.advance(20_000);
    const sessions = (): number => saidKinds(world).filter((kind) => kind === "hello").length;
    world.wake(1);
    await world.clock.advance(5_000);
    expect(sessions()).toBe(1);
    world.desired = planOf(2);
    world.wake(2, { delayMs: 3_000 });
    await world.clock.advance(2_900);
    expect(sessions()).toBe(1);
    await world.clock.advance(5_000);
    expect([sessions(), world.host.kernel.value("vm.swappiness")]).toEqual([2, "2"]);
    world.wake(2, { sessionWanted: true });
    await world.clock.advance(1_000);
    expect(sessions()).toBe(3);
    await world.stop();
  });

  it("opens no second session for what the open one has brought meanwhile", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(20_000);
    world.desired = planOf(1);
    world.wake(1, { delayMs: 100 });
    await world.clock.advance(150);
    world.wake(1, { delayMs: 2_000, sessionWanted: false });
    await world.clock.advance(20_000);
    expect(saidKinds(world).filter((kind) => kind === "hello").length).toBe(2);
    await world.stop();
  });

  it("learns of a plan by its slow poll when the wake-up is lost, sooner while NATS is down", async () => {
    for (const [isBusUp, withinMs] of [
      [true, 800_000],
      [false, 200_000],
    ] as const) {
      const world = new World();
      world.isBusUp = isBusUp;
      world.start();
      await world.clock.advance(20_000);
      world.desired = planOf(1);
      await world.clock.advance(withinMs);
      expect(world.host.kernel.value("vm.swappiness")).toBe("1");
      await world.stop();
    }
  });

  it("I8: keeps enforcing without coordinator and NATS, also over a restart, and tells everything afterwards", async () => {
    const world = new World();
    world.desired = planOf(1);
    world.start();
    await world.clock.advance(20_000);
    world.isBusUp = false;
    world.isCoordinatorUp = false;
    world.host.kernel.set("vm.swappiness", "99");
    await world.clock.advance(800_000);
    expect(world.host.kernel.value("vm.swappiness")).toBe("1");
    await world.crash();
    world.host.kernel.set("vm.swappiness", "98");
    world.start();
    await world.clock.advance(10_000);
    expect(world.host.kernel.value("vm.swappiness")).toBe("1");
    expect(world.events("drift")).toEqual([]);
    world.reconnect();
    await world.clock.advance(1_800_000);
    expect(world.events("drift")).toMatchObject([{ repaired: true }, { repaired: true }]);
    expect(world.agent?.status()).toMatchObject({ unacknowledgedBatches: 0, failedSessionTries: 0 });
    await world.stop();
  });

  it("refuses a plan that is not for it, says why, and is not woken for it again", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(20_000);
    world.desired = Buffer.from(Plan.encode({ ...Plan.decode(planOf(3)), expiresAtMs: 1 }).finish());
    world.wake(3);
    await world.clock.advance(5_000);
    expect(world.said.find((message) => message.body?.$case === "planAnswer")).toMatchObject({
      body: { value: { accepted: false, reason: "Expired" } },
    });
    expect(world.events("planRefused")).toMatchObject([{ reason: "Expired" }]);
    expect(world.beats.at(-1)?.observedGeneration).toBe(3);
    expect(world.host.effects.all).toEqual([]);
    await world.stop();
  });

  it("answers for logs and dry runs, and then is idle", async () => {
    const world = new World();
    world.desired = planOf(1);
    world.start();
    await world.clock.advance(20_000);
    world.instructions = [
      { $case: "collectLogs", value: { requestId: "l", step: "sysctl", offset: 0, maxBytes: 0 } },
      { $case: "collectLogs", value: { requestId: "n", step: "none", offset: 0, maxBytes: 0 } },
      { $case: "dryRun", value: { requestId: "d", signedPlan: { plan: planOf(9), signatures: [] } } },
    ];
    world.wake(0, { sessionWanted: true });
    world.said.length = 0;
    await world.clock.advance(2_000);
    expect(world.said.slice(1).map((message) => message.body)).toMatchObject([
      { value: { requestId: "l", chunk: Buffer.from("vm.swappiness = 1\n"), last: true } },
      { value: { requestId: "n", last: true, reason: "NoSuchStep" } },
      { value: { requestId: "d", steps: [{ step: "sysctl", changes: [{ path: "vm.swappiness", from: "1", to: "9" }] }] } },
      { $case: "idle" },
    ]);
    await world.stop();
  });

  it("carries out a rung and gives its evidence in chunks, and is idle only after both", async () => {
    const world = new World();
    world.desired = planOf(1);
    world.start();
    await world.clock.advance(20_000);
    world.instructions = [
      { $case: "runRung", value: { requestId: "r", rung: { $case: "restartUnits", value: { units: ["kubelet.service"] } } } },
      { $case: "collectEvidence", value: { requestId: "e", maxBytes: 1_000_000 } },
    ];
    world.wake(0, { sessionWanted: true });
    world.said.length = 0;
    // The archive is compressed beside the virtual clock.
    while (!saidKinds(world).includes("idle")) {
      await world.clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const told = world.said.flatMap(({ body }) => (body?.$case === "rungResult" ? [body.value] : []));
    expect(told).toEqual([{ requestId: "r", done: true, reason: "", message: "restarted and active: kubelet.service" }]);
    const chunks = world.said.flatMap(({ body }) => (body?.$case === "evidenceChunk" ? [body.value] : []));
    expect(chunks.map(({ last, reason }) => [last, reason])).toEqual([...chunks.slice(1).map(() => [false, ""]), [true, ""]]);
    const archive = gunzipSync(Buffer.concat(chunks.map(({ chunk }) => chunk))).toString("latin1");
    expect(archive).toContain("vm.swappiness = 1");
    expect(saidKinds(world).at(-1)).toBe("idle");
    expect(saidKinds(world).filter((kind) => kind === "idle")).toHaveLength(1);
    await world.stop();
  });

  it("answers a dry run of a thousand images in a message that the coordinator takes", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(20_000);
    const images = Array.from({ length: 1000 }, (_, index) => ({
      name: `registry.example/team/app-${index}:1`,
      digest: `sha256:${"a".repeat(64)}`,
    }));
    const plan = Plan.fromPartial({ ...Plan.decode(planOf(9)), steps: [{ id: "images", spec: { $case: "images", value: { images } } }] });
    const signedPlan = { plan: Buffer.from(Plan.encode(plan).finish()), signatures: [] };
    world.instructions = [{ $case: "dryRun", value: { requestId: "d", signedPlan } }];
    world.wake(0, { sessionWanted: true });
    await world.clock.advance(2_000);
    const answer = world.said.find(({ body }) => body?.$case === "dryRunResult");
    expect(answer?.body).toMatchObject({ value: { reason: "", steps: [{ step: "images" }] } });
    expect(ConverseRequest.encode(answer!).finish().length).toBeLessThan(64 * 1024);
    await world.stop();
  });

  it("killed at every failpoint and started again ends in sync with every result acknowledged", async () => {
    for (let k = 1; ; k += 1) {
      const world = new World();
      world.desired = planOf(1);
      let hasDied = false;
      world.start(
        failpointFrom(`*:${k}`, () => {
          hasDied = true;
          world.state.crash();
          world.host.effects.crash();
        }),
      );
      await world.clock.advance(8_000);
      if (!hasDied) {
        await world.stop();
        expect(k).toBeGreaterThan(10);
        return;
      }
      expect(await world.stop()).toBeInstanceOf(FakeCrash);
      await world.crash();
      world.start();
      await world.clock.advance(60_000);
      expect(world.agent?.status()).toMatchObject({ enforced: { generation: 1 }, unacknowledgedBatches: 0 });
      expect(world.host.effects.of("kernel.writeSysctl").length).toBe(1);
      expect(world.events("planFinished").length).toBeGreaterThanOrEqual(1);
      await world.stop();
    }
  });

  it("does the same from the same seed", async () => {
    const transcripts = [];
    for (let run = 0; run < 2; run += 1) {
      const world = new World();
      world.desired = planOf(1);
      world.start();
      await world.clock.advance(3_600_000);
      await world.stop();
      transcripts.push(world.transcript);
    }
    expect(transcripts[0]).toEqual(transcripts[1]);
    expect(transcripts[0]?.length).toBeGreaterThan(5);
  });
});
