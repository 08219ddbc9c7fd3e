import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { Heartbeat, shardOf } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type MemoryBus, memoryBus } from "../bus/memory-bus.ts";
import { FleetState } from "./fleet-state.ts";
import { createObserver, type Observer } from "./observer.ts";

const NODE = "aaaaaaaaaa";

describe("the observer", () => {
  let clock: VirtualClock;
  let bus: MemoryBus;
  let fleet: FleetState;
  let observer: Observer;
  let stop: AbortController;
  let beat: (flags?: number) => void;
  let reportLagMs: number;

  beforeEach(() => {
    reportLagMs = 0;
    clock = new VirtualClock();
    bus = memoryBus(clock);
    fleet = new FleetState();
    observer = createObserver({
      bus,
      fleet,
      knownNode: (node) => node === NODE,
      cellsOf: () => ["rack 1"],
      reportLagMs: () => reportLagMs,
      clock,
      random: seededRandom(1),
      log: silentLog,
    });
    stop = new AbortController();
    void observer.run(stop.signal);
    const port = bus.agentPort(NODE);
    void port.run(stop.signal);
    let seq = 0;
    beat = (flags = 1) =>
      port.publishHeartbeat(Heartbeat.encode(Heartbeat.fromPartial({ seq: ++seq, observedGeneration: 4, flags })).finish());
  });
  afterEach(() => stop.abort());

  const health = (): string => {
    const { verdict, reason } = fleet.node(NODE)?.health ?? { verdict: "none", reason: "" };
    return `${verdict} ${reason}`;
  };
  const beatFor = async (seconds: number): Promise<void> => {
    for (let passed = 0; passed < seconds; passed += 10) {
      beat();
      await clock.advance(10_000);
    }
  };

  it("calls a beating node healthy at once, and a silent one unknown after grace", async () => {
    beat();
    await clock.advance(2_000);
    expect(health()).toBe("healthy Beating");
    expect(fleet.node(NODE)).toMatchObject({ beatGeneration: 4, beatFlags: 1 });
    await clock.advance(26_000);
    expect(health()).toBe("healthy Beating");
    await clock.advance(10_000);
    expect(health()).toBe("unknown Silent");
    beat();
    await clock.advance(2_000);
    expect(health()).toBe("healthy Beating");
  });

  it("believes a node that says it failed, once it trusts itself", async () => {
    beat(4);
    await clock.advance(2_000);
    expect(health()).toBe("unknown ObserverUnwell");
    for (let passed = 0; passed < 40; passed += 10) {
      beat(4);
      await clock.advance(10_000);
    }
    expect(health()).toBe("unhealthy PlanFailed");
  });

  it("claims nothing while the broker is away, and blames nobody when it is back", async () => {
    await beatFor(60);
    bus.setUp(false);
    await clock.advance(45_000);
    expect(health()).toBe("unknown ObserverUnwell");
    bus.setUp(true);
    await clock.advance(3_000);
    expect(health()).toMatch(/^unknown/);
    await beatFor(20);
    expect(health()).toBe("healthy Beating");
  });

  it("takes a broker clock that jumps for its own lapse", async () => {
    await beatFor(60);
    expect(observer.state().steadyMs).toBeGreaterThan(50_000);
    clock.jump(3_600_000);
    await clock.advance(3_000);
    expect(observer.state().steadyMs).toBeLessThan(4_000);
    expect(health()).not.toMatch(/^unhealthy/);
  });

  it("passes over the beats of nodes it does not know", async () => {
    const stranger = bus.agentPort("bbbbbbbbbb");
    void stranger.run(stop.signal);
    stranger.publishHeartbeat(Heartbeat.encode(Heartbeat.fromPartial({ seq: 1 })).finish());
    await clock.advance(2_000);
    expect(fleet.node("bbbbbbbbbb")).toBeUndefined();
  });

  it("tells each shard its budget at once when it changes and else each ten minutes, and a longer interval only when the fleet has clearly grown", async () => {
    const port = bus.agentPort("cccccccccc");
    const budgets: number[] = [];
    port.onBudget((budget) => budgets.push(budget.heartbeatIntervalMs));
    void port.run(stop.signal);
    expect(shardOf("cccccccccc")).toBeLessThan(64);
    await clock.advance(635_000);
    expect(budgets).toEqual([10_000, 10_000]);
    for (let index = 0; index < 20_000; index++) fleet.add(`n${index}`);
    await clock.advance(60_000);
    expect(budgets.at(-1)).toBe(20_000);
    for (let index = 0; index < 1_000; index++) fleet.add(`m${index}`);
    await clock.advance(60_000);
    expect(budgets.at(-1)).toBe(20_000);
    // The grace shrinks only when nobody beats in the longer interval any more.
    for (let index = 0; index < 20_000; index++) fleet.forget(`n${index}`);
    await clock.advance(60_000);
    expect([budgets.at(-1), observer.state().graceMs]).toEqual([10_000, 60_000]);
    await clock.advance(620_000);
    expect(observer.state().graceMs).toBe(30_000);
  });

  it("lets nodes report more seldom while reports come faster than they are taken, and beat as before", async () => {
    const port = bus.agentPort("cccccccccc");
    const budgets: string[] = [];
    port.onBudget(({ minReportIntervalMs, heartbeatIntervalMs }) => budgets.push(`${minReportIntervalMs} ${heartbeatIntervalMs}`));
    void port.run(stop.signal);
    await clock.advance(35_000);
    expect(budgets).toEqual(["2000 10000"]);
    reportLagMs = 6_000;
    await clock.advance(25_000);
    expect(budgets).toEqual(["2000 10000", "7000 10000"]);
    reportLagMs = 1_000;
    await clock.advance(60_000);
    expect(budgets.length).toBe(2);
    reportLagMs = 0;
    await clock.advance(360_000);
    expect(budgets.slice(2)).toEqual(["5250 10000", "3938 10000", "2954 10000", "2216 10000", "2000 10000"]);
  });

  describe("of a rack", () => {
    const RACK = Array.from({ length: 10 }, (_, index) => `n${index}aaaaaaaa`.slice(0, 10));
    let opinions: Map<string, "alive" | "agreed">;
    let asked: ReadonlySet<string>;
    let silent: Set<string>;
    let told: string[];
    let racks: Observer;

    beforeEach(() => {
      opinions = new Map();
      asked = new Set();
      silent = new Set();
      told = [];
      stop.abort();
      stop = new AbortController();
      fleet = new FleetState();
      fleet.onChange((nodeIds) => void told.push(...nodeIds));
      racks = createObserver({
        bus,
        fleet,
        knownNode: () => true,
        cellsOf: (nodeId) => ["NATS server", RACK.indexOf(nodeId) < 5 ? "rack 1" : "rack 2"],
        suspects: {
          suspect: (nodeIds) => {
            asked = nodeIds;
          },
          opinionOf: (nodeId) => opinions.get(nodeId) ?? "pending",
        },
        clock,
        random: seededRandom(1),
        log: silentLog,
      });
      void racks.run(stop.signal);
      for (const [place, nodeId] of RACK.entries()) {
        const port = bus.agentPort(nodeId);
        void port.run(stop.signal);
        let seq = 0;
        const beatOn = (): void => {
          if (!silent.has(nodeId)) port.publishHeartbeat(Heartbeat.encode(Heartbeat.fromPartial({ seq: ++seq, flags: 1 })).finish());
          if (!stop.signal.aborted) clock.setTimer(10_000, beatOn);
        };
        clock.setTimer(place * 1_000, beatOn);
      }
    });

    const verdicts = (): string[] => RACK.map((nodeId) => `${fleet.node(nodeId)?.health.verdict} ${fleet.node(nodeId)?.health.reason}`);
    const fall = (...places: number[]): void => {
      for (const place of places) {
        silent.add(RACK[place]!);
        opinions.set(RACK[place]!, "agreed");
      }
    };

    it("calls one silent node unhealthy once the second path agrees, asked from half the grace on", async () => {
      await clock.advance(60_000);
      silent.add(RACK[0]!);
      await clock.advance(14_000);
      expect([...asked]).toEqual([]);
      await clock.advance(14_000);
      expect([...asked]).toEqual([RACK[0]]);
      await clock.advance(20_000);
      expect(verdicts()[0]).toBe("unknown Silent");
      opinions.set(RACK[0]!, "alive");
      await clock.advance(2_000);
      expect(verdicts()[0]).toBe("unknown SilentButAlive");
      opinions.set(RACK[0]!, "agreed");
      await clock.advance(2_000);
      expect(verdicts()[0]).toBe("unhealthy Silent");
      expect(racks.census()).toMatchObject({ suspects: 1, disruptedCells: 0 });
      silent.clear();
      await clock.advance(12_000);
      expect(verdicts()[0]).toBe("healthy Beating");
    });

    it("calls nobody unhealthy when three fall together, at no moment, and tells all of the cell", async () => {
      await clock.advance(60_000);
      fall(0, 2, 4);
      told.length = 0;
      for (let second = 0; second < 600; second += 1) {
        await clock.advance(1_000);
        expect(verdicts().filter((one) => one.startsWith("unhealthy"))).toEqual([]);
      }
      expect(verdicts().filter((one) => one === "unknown CellDisrupted")).toHaveLength(3);
      expect(racks.disruptionOf(RACK[1]!)).toMatchObject({ cell: "NATS server" });
      expect([...asked]).toEqual([]);
      expect(new Set(told)).toEqual(new Set(RACK));
      silent.clear();
      await clock.advance(20_000);
      expect(racks.census().disruptedCells).toBe(2);
      await clock.advance(30_000);
      expect(racks.census()).toMatchObject({ disruptedCells: 0, suspects: 0 });
      expect(racks.disruptionOf(RACK[1]!)).toBeUndefined();
    });

    it("takes back that a node is unhealthy when its neighbours fall after it", async () => {
      await clock.advance(60_000);
      fall(0);
      await clock.advance(45_000);
      expect(verdicts()[0]).toBe("unhealthy Silent");
      fall(1, 2);
      await clock.advance(27_000);
      expect(verdicts().slice(0, 3)).toEqual(["unknown CellDisrupted", "healthy Beating", "healthy Beating"]);
      await clock.advance(30_000);
      expect(verdicts().slice(0, 3)).toEqual(Array(3).fill("unknown CellDisrupted"));
    });

    for (const hours of [1, -1]) {
      it(`finds who died before the broker's clock was ${hours > 0 ? "put forward" : "set back"}, and blames nobody else`, async () => {
        await clock.advance(60_000);
        fall(0);
        await clock.advance(5_000);
        clock.jump(hours * 3_600_000);
        for (let second = 0; second < 60; second += 1) {
          await clock.advance(1_000);
          expect(verdicts().slice(1)).toEqual(Array(9).fill("healthy Beating"));
        }
        expect(verdicts()[0]).toBe("unhealthy Silent");
      });
    }

    it("blames nobody, and no cell, for its own lapse", async () => {
      await clock.advance(60_000);
      bus.setUp(false);
      await clock.advance(120_000);
      bus.setUp(true);
      await clock.advance(3_000);
      expect(racks.census()).toMatchObject({ disruptedCells: 0, suspects: 0 });
      expect(racks.census().lapses).toBeGreaterThan(0);
      await clock.advance(60_000);
      expect(verdicts()).toEqual(Array(10).fill("healthy Beating"));
    });
  });
});
