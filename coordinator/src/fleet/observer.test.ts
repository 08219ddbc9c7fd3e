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

  beforeEach(() => {
    clock = new VirtualClock();
    bus = memoryBus(clock);
    fleet = new FleetState();
    observer = createObserver({ bus, fleet, knownNode: (node) => node === NODE, clock, random: seededRandom(1), log: silentLog });
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

  it("tells each shard its budget every minute, and a longer interval only when the fleet has clearly grown", async () => {
    const port = bus.agentPort("cccccccccc");
    const budgets: number[] = [];
    port.onBudget((budget) => budgets.push(budget.heartbeatIntervalMs));
    void port.run(stop.signal);
    expect(shardOf("cccccccccc")).toBeLessThan(64);
    await clock.advance(95_000);
    expect(budgets).toEqual([10_000, 10_000]);
    for (let index = 0; index < 20_000; index++) fleet.add(`n${index}`);
    await clock.advance(60_000);
    expect(budgets.at(-1)).toBe(20_000);
    for (let index = 0; index < 1_000; index++) fleet.add(`m${index}`);
    await clock.advance(60_000);
    expect(budgets.at(-1)).toBe(20_000);
  });
});
