import { type Clock, seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { ReportBatch } from "@drover/proto";
import { afterEach, describe, expect, it } from "vitest";
import type { Bus, ReportHandler } from "../bus/bus.ts";
import { type MemoryBus, memoryBus } from "../bus/memory-bus.ts";
import { FleetState } from "../fleet/fleet-state.ts";
import type { AuditEntry } from "../records.ts";
import { memoryReportLog } from "../reportlog/memory-report-log.ts";
import { countReports } from "../reportlog/report-count.ts";
import type { ReportLog } from "../reportlog/report-log.ts";
import { createIngest, type Ingest } from "./ingest.ts";
import { TestOutbox } from "./outbox-for-tests.ts";
import type { FleetView, ObservedNode } from "../fleet/fleet.ts";
import { memorySnapshotStore } from "./snapshot-store.ts";

const NODES = ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"];

interface Life {
  readonly fleet: FleetState;
  readonly ingest: Ingest;
  /** Ends as a kill would: nothing is done any more. */
  stop(): Promise<void>;
}

class World {
  readonly clock = new VirtualClock();
  readonly random = seededRandom(7);
  readonly bus: MemoryBus = memoryBus(this.clock, seededRandom(8));
  readonly reportLog: ReportLog = memoryReportLog();
  readonly snapshotStore = memorySnapshotStore();
  readonly audits: AuditEntry[] = [];
  readonly agents = new AbortController();

  async start(overrides: { readonly bus?: Bus; readonly reportLog?: ReportLog; readonly clock?: Clock } = {}): Promise<Life> {
    const { random, snapshotStore } = this;
    const clock = overrides.clock ?? this.clock;
    const fleet = new FleetState();
    const ingest = createIngest({
      bus: overrides.bus ?? this.bus,
      reportLog: overrides.reportLog ?? this.reportLog,
      fleet,
      clock,
      random,
      log: silentLog,
      snapshotStore,
      audit: (entry) => this.audits.push(entry),
      knownNode: (nodeId) => NODES.includes(nodeId),
    });
    await ingest.recover();
    const stop = new AbortController();
    const running = ingest.run(stop.signal).catch((error: unknown) => error);
    return {
      fleet,
      ingest,
      async stop() {
        stop.abort();
        await running;
      },
    };
  }

  outbox(nodeId: string): TestOutbox {
    const port = this.bus.agentPort(nodeId);
    const outbox = new TestOutbox(port, nodeId, this.random.bytes(8), this.clock);
    void port.run(this.agents.signal);
    void outbox.resend(2_000, this.agents.signal);
    return outbox;
  }
}

let world: World;
afterEach(() => world.agents.abort());

/** Everything of every node, whatever is read only when it is asked for. */
function shown(fleet: FleetView): readonly ObservedNode[] {
  return [...fleet.nodes()].map((node) => {
    const { planEpoch, observedGeneration, outcome, reason, message, failedStep, enforcedRevision, enforcedAtUnixMs } = node;
    const told = { planEpoch, observedGeneration, outcome, reason, message, failedStep, enforcedRevision, enforcedAtUnixMs };
    const { steps, conditions, drift, facts, images } = node;
    return { ...node, ...told, steps, conditions, drift, facts, images };
  });
}

describe("ingest", () => {
  it("logs, folds and acks what nodes report", async () => {
    world = new World();
    const life = await world.start();
    const outboxes = NODES.map((node) => world.outbox(node));
    for (const outbox of outboxes) for (let count = 0; count < 10; count++) outbox.write();
    await world.clock.advance(1_000);
    expect(outboxes.map((outbox) => outbox.acked)).toEqual([10, 10, 10]);
    expect(life.fleet.node(NODES[0]!)?.observedGeneration).toBe(10);
    await life.stop();
  });

  it("lets others have their turn while a pull is folded; a snapshot made in the middle of it loses and doubles nothing", async () => {
    world = new World();
    const messages = Array.from({ length: 200 }, (_, index) => {
      const events = [
        { generation: index + 1, planEpoch: 1, body: { $case: "planAccepted" as const, value: { revision: `r${index + 1}` } } },
      ];
      const batch = ReportBatch.fromPartial({ nodeId: NODES[0]!, outboxEpoch: Buffer.alloc(8, 1), seq: index + 1, events });
      return { nodeId: NODES[0]!, payload: ReportBatch.encode(batch).finish(), sequence: index + 1 };
    });
    const bus: Bus = Object.assign(Object.create(world.bus), {
      consumeReports: async (_after: unknown, handle: ReportHandler) =>
        void (await handle({ incarnation: "one", firstSequence: 1, lastSequence: 200, messages })),
    });
    // Each look at the time takes a millisecond, as each report would on a slow machine.
    const slow = new (class extends VirtualClock {
      #looks = 0;
      override monotonicMs(): number {
        return super.monotonicMs() + ++this.#looks;
      }
    })();
    const seen: number[] = [];
    let early: readonly Uint8Array[] = [];
    const life = await world.start({ bus, clock: slow });
    const generation = (): number => life.fleet.node(NODES[0]!)?.observedGeneration ?? 0;
    while (generation() < 200) {
      seen.push(generation());
      if (early.length === 0 && generation() > 0) early = life.fleet.snapshot(0);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    expect(seen.length).toBeGreaterThan(5);
    expect(Math.max(...seen.map((count, index) => count - (seen[index - 1] ?? 0)))).toBeLessThanOrEqual(40);
    await life.stop();
    await world.snapshotStore.write(early);
    const again = await world.start();
    expect(shown(again.fleet)).toEqual(shown(life.fleet));
    expect(world.audits).toEqual([]);
    await again.stop();
  });

  it("refuses a body in another node's name: audited once, neither folded nor acked", async () => {
    world = new World();
    const life = await world.start();
    const port = world.bus.agentPort(NODES[0]!);
    const answers: unknown[] = [];
    port.onToNode((message) => answers.push(message));
    void port.run(world.agents.signal);
    const forged = ReportBatch.fromPartial({
      nodeId: NODES[1]!,
      outboxEpoch: Buffer.alloc(8, 1),
      seq: 1,
      events: [{ generation: 9, planEpoch: 9, body: { $case: "planAccepted", value: { revision: "forged" } } }],
    });
    for (let count = 0; count < 5; count++) port.publishReport(ReportBatch.encode(forged).finish());
    port.publishReport(Buffer.from([255, 255, 255]));
    port.publishReport(Buffer.alloc(65 * 1024));
    await world.clock.advance(5_000);
    expect(world.audits).toHaveLength(1);
    expect(world.audits[0]).toMatchObject({ actor: `node:${NODES[0]}`, action: "ReportRefused", outcome: "refused" });
    expect(answers).toEqual([]);
    expect(life.fleet.node(NODES[1]!)?.observedGeneration ?? 0).toBe(0);
    expect((await countReports(world.reportLog)).size).toBe(0);
    expect(life.ingest.counters.refused).toBe(7);
    await life.stop();
  });

  it("alarms on a known seq with other contents, and does not ack it", async () => {
    world = new World();
    const life = await world.start();
    const port = world.bus.agentPort(NODES[0]!);
    const acks: unknown[] = [];
    port.onToNode((message) => acks.push(message));
    void port.run(world.agents.signal);
    const send = (atMs: number): boolean =>
      port.publishReport(
        ReportBatch.encode(
          ReportBatch.fromPartial({ nodeId: NODES[0]!, outboxEpoch: Buffer.alloc(8, 1), seq: 1, events: [{ atMs }] }),
        ).finish(),
      );
    send(1);
    await world.clock.advance(100);
    send(2);
    await world.clock.advance(100);
    expect(acks).toHaveLength(1);
    expect(world.audits.map((entry) => entry.action)).toEqual(["CloneSuspected"]);
    await life.stop();
  });

  it("has each acknowledged report once after being killed between log and ack, at any of 30 places", async () => {
    for (let killAt = 1; killAt <= 30; killAt++) {
      world = new World();
      const outboxes = NODES.map((node) => world.outbox(node));
      let appends = 0;
      const dying: ReportLog = {
        ...world.reportLog,
        async append(pull, atMs) {
          const row = await world.reportLog.append(pull, atMs);
          if (++appends === killAt) throw new Error("killed after the row was durable");
          return row;
        },
      };
      const first = await world.start({ reportLog: dying });
      for (let round = 0; round < 40; round++) {
        for (const outbox of outboxes) outbox.write();
        await world.clock.advance(50);
      }
      expect(appends).toBe(killAt);
      await first.stop();
      const second = await world.start();
      await world.clock.advance(10_000);
      const counts = await countReports(world.reportLog);
      for (const outbox of outboxes) {
        expect(outbox.acked).toBe(40);
        expect(counts.get(`${outbox.nodeId}/${outbox.epoch.toString("hex")}`)).toEqual({ count: 40, first: 1, last: 40 });
        expect(second.fleet.node(outbox.nodeId)?.observedGeneration).toBe(40);
      }
      await second.stop();
      world.agents.abort();
    }
  });

  it("loses nothing acknowledged under loss, repetition, disorder and the loss of the whole broker", async () => {
    world = new World();
    const faults = seededRandom(3);
    Object.assign(world.bus.faults, { dropShare: 0.2, duplicateShare: 0.2, delayMs: () => 1 + Math.floor(faults.unit() * 200) });
    const outboxes = NODES.map((node) => world.outbox(node));
    let life = await world.start();
    for (let round = 0; round < 200; round++) {
      for (const outbox of outboxes) outbox.write();
      await world.clock.advance(100);
      if (round % 50 === 25) world.bus.loseAll();
      if (round % 40 === 39) {
        await life.stop();
        life = await world.start();
      }
    }
    Object.assign(world.bus.faults, { dropShare: 0 });
    // In disorder a resend of many brings few seqs in a row: it converges, slowly.
    for (let minutes = 0; minutes < 20 && outboxes.some((outbox) => outbox.acked < 200); minutes++) await world.clock.advance(60_000);
    const counts = await countReports(world.reportLog);
    for (const outbox of outboxes) {
      expect(outbox.acked).toBe(200);
      expect(counts.get(`${outbox.nodeId}/${outbox.epoch.toString("hex")}`)).toEqual({ count: 200, first: 1, last: 200 });
    }
    await life.stop();
  });

  it("comes back from snapshot and log to the same fleet, and from the log alone when the snapshot is damaged", async () => {
    world = new World();
    const outboxes = NODES.map((node) => world.outbox(node));
    const first = await world.start();
    for (const outbox of outboxes) outbox.write();
    await world.clock.advance(70_000);
    for (const outbox of outboxes) outbox.write();
    await world.clock.advance(1_000);
    const before = shown(first.fleet);
    const snapshot = await world.snapshotStore.read();
    expect(snapshot).toBeDefined();
    await first.stop();
    await world.snapshotStore.write([snapshot!]);
    const second = await world.start();
    expect(shown(second.fleet)).toEqual(before);
    await second.stop();
    await world.snapshotStore.write([snapshot!.subarray(0, -1), Buffer.from([snapshot!.at(-1)! ^ 1])]);
    const third = await world.start();
    expect(shown(third.fleet)).toEqual(before);
    await third.stop();
  });

  it("shows what it knew when its log is lost, asks outboxes for new ones, and counts nothing twice or as old after the next kill", async () => {
    world = new World();
    const old = world.outbox(NODES[0]!);
    const first = await world.start();
    for (let count = 0; count < 10; count++) {
      old.write();
      await world.clock.advance(100);
    }
    expect(old.acked).toBe(10);
    await first.stop();
    world.bus.loseAll();
    const reportLog = memoryReportLog();
    const second = await world.start({ reportLog });
    const snapshot = await world.snapshotStore.read();
    expect(second.fleet.node(NODES[0]!)?.observedGeneration).toBe(10);
    old.write();
    await world.clock.advance(1_000);
    expect(old.acked).toBe(10);
    const next = world.outbox(NODES[0]!);
    for (let count = 0; count < 12; count++) next.write();
    await world.clock.advance(1_000);
    expect(next.acked).toBe(12);
    await second.stop();
    // As after a kill: no snapshot since the start.
    await world.snapshotStore.write([snapshot!]);
    const third = await world.start({ reportLog });
    expect(third.fleet.node(NODES[0]!)?.observedGeneration).toBe(12);
    next.write();
    await world.clock.advance(1_000);
    expect(next.acked).toBe(13);
    expect((await countReports(reportLog)).get(`${NODES[0]}/${next.epoch.toString("hex")}`)).toEqual({ count: 13, first: 1, last: 13 });
    await third.stop();
  });
});
