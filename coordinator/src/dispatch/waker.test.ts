import { seededRandom, VirtualClock } from "@drover/lifecycle";
import { ReportBatch, type Wake } from "@drover/proto";
import { afterEach, expect, it } from "vitest";
import { memoryBus } from "../bus/memory-bus.ts";
import { FleetState } from "../fleet/fleet-state.ts";
import type { DesiredNode } from "../records.ts";
import type { CatalogChange } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import { FIRST_WINDOW, LEAST_WINDOW, MOST_WINDOW, WakeWindow } from "./wake-window.ts";
import { Waker } from "./waker.ts";

class Site {
  readonly clock = new VirtualClock();
  readonly fleet = new FleetState();
  readonly stored = new Map<string, { readonly value: DesiredNode; readonly revision: number }>();
  readonly woken: string[] = [];
  readonly live = new Set<string>();
  readonly barred = new Set<string>();
  readonly ended = new AbortController();
  readonly waker: Waker;
  sessionsLeft = Infinity;
  #tell: (changes: readonly CatalogChange[]) => void = () => undefined;
  #running: Promise<void> = Promise.resolve();

  constructor() {
    const { clock, fleet, stored, live, barred } = this;
    const bus = Object.assign(memoryBus(clock, seededRandom(1)), { wake: (nodeId: string, _wake: Wake) => void this.woken.push(nodeId) });
    const onChange = (tell: (changes: readonly CatalogChange[]) => void): (() => void) => {
      this.#tell = tell;
      return () => undefined;
    };
    this.waker = new Waker({
      bus,
      clock,
      random: seededRandom(2),
      fleet,
      catalog: {
        desired: Object.assign(stored, { look: (nodeId: string) => stored.get(nodeId)?.value, field: () => undefined }),
        onChange,
      },
      isLive: (nodeId) => live.has(nodeId),
      isBarred: (nodeId) => barred.has(nodeId),
      sessionsLeft: () => this.sessionsLeft,
    });
  }

  start(): void {
    this.#running = this.waker.run(this.ended.signal);
  }

  decide(nodeId: string, generation = 1): DesiredNode {
    const value = { nodeId, planEpoch: 1, generation, revision: "r", nodeSet: "s", rollout: "o", plan: "", decidedAtMs: 0 };
    this.stored.set(nodeId, { value, revision: 1 });
    this.#tell([{ key: keys.desired(nodeId), revision: 1, isDeleted: false }]);
    return value;
  }

  async stop(): Promise<void> {
    this.ended.abort();
    await this.clock.advance(2_000);
    await this.#running;
  }
}

let site: Site;
afterEach(() => site.stop());

function siteOf(count: number): string[] {
  site = new Site();
  return Array.from({ length: count }, (_, index) => `node-${index}`);
}

it("hints at as many as may be on their way, and at the next as they arrive", async () => {
  const nodes = siteOf(FIRST_WINDOW + 3);
  for (const nodeId of nodes) site.waker.decided(site.decide(nodeId));
  expect(site.woken).toEqual(nodes.slice(0, FIRST_WINDOW));
  site.start();
  await site.clock.advance(1_000);
  expect(site.woken).toHaveLength(FIRST_WINDOW);
  site.waker.sessionChanged(nodes[0]!);
  site.waker.sessionChanged(nodes[1]!);
  await site.clock.advance(200);
  expect(site.woken).toEqual(nodes);
});

it("what the store tells of first is hinted at once when it is decided, and not once more a moment later", async () => {
  const [nodeId] = siteOf(1);
  site.start();
  const desired = site.decide(nodeId!);
  expect(site.woken).toEqual([]);
  site.waker.decided(desired);
  expect(site.woken).toEqual([nodeId]);
  await site.clock.advance(3_000);
  expect(site.woken).toEqual([nodeId]);
});

it("a fleet that answers is woken as a whole within seconds, each node once", async () => {
  const nodes = siteOf(20_000);
  for (const nodeId of nodes) site.decide(nodeId);
  site.start();
  for (let passed = 0; passed < 5_000 && site.woken.length < nodes.length; passed += 100) {
    const before = site.woken.length;
    await site.clock.advance(100);
    for (const nodeId of site.woken.slice(before)) {
      site.live.add(nodeId);
      site.waker.sessionChanged(nodeId);
    }
  }
  expect(new Set(site.woken).size).toBe(nodes.length);
  expect(site.woken).toHaveLength(nodes.length);
  expect(site.waker.windowSize).toBe(MOST_WINDOW);
});

it("nodes that do not listen leave room for others, and are hinted ever more slowly", async () => {
  const [deaf, ...others] = siteOf(FIRST_WINDOW + 50);
  site.waker.decided(site.decide(deaf!));
  for (const nodeId of others) site.waker.decided(site.decide(nodeId));
  site.start();
  await site.clock.advance(12_000);
  expect(new Set(site.woken).size).toBe(FIRST_WINDOW + 50);
  await site.clock.advance(48_000);
  const hints = site.woken.filter((nodeId) => nodeId === deaf).length;
  expect(hints).toBeGreaterThanOrEqual(3);
  expect(hints).toBeLessThanOrEqual(5);
});

it("who has acted is hinted no more, and something newer begins anew", async () => {
  const [nodeId] = siteOf(1);
  site.waker.decided(site.decide(nodeId!));
  site.start();
  const { fleet, clock } = site;
  const accepted = { atMs: clock.now(), planEpoch: 1, generation: 1, body: { $case: "planAccepted", value: { revision: "r" } } } as const;
  fleet.foldReport(
    nodeId!,
    ReportBatch.fromPartial({ nodeId: nodeId!, outboxEpoch: Buffer.alloc(8, 1), seq: 1, events: [accepted] }),
    1,
    clock.now(),
  );
  fleet.notify([nodeId!]);
  await clock.advance(60_000);
  expect(site.waker.outstandingCount).toBe(0);
  expect(site.woken.filter((each) => each === nodeId)).toHaveLength(1);
  site.decide(nodeId!, 2);
  await site.clock.advance(2_000);
  expect(site.woken.filter((each) => each === nodeId)).toHaveLength(2);
});

it("hints at nobody who is barred or in a session, and at no more than there is room for sessions", async () => {
  siteOf(0);
  site.barred.add("barred");
  site.live.add("live");
  site.sessionsLeft = 2;
  for (const nodeId of ["barred", "live", "a", "b", "c"]) site.waker.decided(site.decide(nodeId));
  site.start();
  await site.clock.advance(1_000);
  expect(site.woken).toEqual(["a", "b"]);
});

it("the window shrinks while the loop is late, once a second, and not to nothing", () => {
  siteOf(0);
  const window = new WakeWindow();
  for (const nowMs of [1_000, 1_100, 1_200]) window.look(nowMs, 500);
  expect(window.size).toBe(FIRST_WINDOW * 0.7);
  window.sent("a", 10_000);
  window.arrived("a");
  expect(window.size).toBe(FIRST_WINDOW * 0.7);
  for (let nowMs = 3_000; nowMs < 30_000; nowMs += 1_000) window.look(nowMs, 500);
  expect(window.size).toBe(LEAST_WINDOW);
  window.look(40_000, 10);
  window.sent("b", 50_000);
  window.arrived("b");
  expect(window.size).toBe(LEAST_WINDOW + 1);
});
