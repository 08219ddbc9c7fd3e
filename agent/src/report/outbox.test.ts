import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { type Event, ReportBatch } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryStateDirectory } from "../state/index.ts";
import { Outbox, type OutboxParts } from "./outbox.ts";

const NODE = "abcdefghij";

function result(number: number): Event {
  const value = {
    step: `s${number}`,
    outcome: 2 as const,
    reason: "",
    message: "",
    retryable: false,
    durationMs: 1,
    outputTail: "",
    outputDigest: Buffer.alloc(0),
    outputBytes: 0,
    changes: [],
  };
  return { atMs: number, generation: 1, planEpoch: 1, body: { $case: "stepResult", value } };
}

function condition(number: number, length = 0, type = `T${number}`): Event {
  const value = { type, status: 1 as const, reason: "R", message: `${number} ${"x".repeat(length)}`, lastTransitionMs: 0 };
  return { atMs: number, generation: 1, planEpoch: 1, body: { $case: "condition", value } };
}

/** A coordinator that folds contiguously and answers holes and duplicates with its cumulative ack. */
class Receiver {
  readonly folded: Event[] = [];
  readonly #seqs = new Map<string, number>();
  readonly payloads = new Map<string, string>();

  receive(payload: Uint8Array): { outboxEpoch: Buffer; seq: number } {
    const batch = ReportBatch.decode(payload);
    const epoch = batch.outboxEpoch.toString("hex");
    const digest = Buffer.from(payload).toString("hex");
    const known = this.payloads.get(`${epoch} ${batch.seq}`);
    // The same seq with other bytes would raise the clone alarm.
    if (known !== undefined && known !== digest) throw new Error(`seq ${batch.seq} came with other bytes`);
    const seen = this.#seqs.get(epoch) ?? 0;
    if (batch.seq === seen + 1) {
      this.payloads.set(`${epoch} ${batch.seq}`, digest);
      this.#seqs.set(epoch, batch.seq);
      this.folded.push(...batch.events);
    }
    return { outboxEpoch: batch.outboxEpoch, seq: this.#seqs.get(epoch) ?? 0 };
  }
}

interface Bus {
  isConnected: boolean;
  publishReport(payload: Uint8Array): boolean;
}

function open(parts: Partial<OutboxParts> & { bus: Bus; state: OutboxParts["state"] }): Promise<Outbox> {
  return Outbox.open({ nodeId: NODE, clock: new VirtualClock(), random: seededRandom(1), log: silentLog, ...parts });
}

const numbers = (events: readonly Event[]): number[] => events.filter((event) => event.body?.$case !== "gap").map((event) => event.atMs);

describe("an outbox", () => {
  it("publishes results at once, after they are durable, and routine ones together within 2 s", async () => {
    const clock = new VirtualClock();
    const state = new MemoryStateDirectory();
    const sent: number[][] = [];
    const bus = { isConnected: true, publishReport: (payload: Uint8Array) => sent.push(numbers(ReportBatch.decode(payload).events)) > 0 };
    const outbox = await open({ clock, state, bus });
    const writes = state.writes;
    await outbox.record([result(1)]);
    expect([state.writes - writes, sent]).toEqual([1, [[1]]]);
    outbox.takeAck({ outboxEpoch: outbox.epoch, seq: 1 });
    outbox.note([condition(2)]);
    outbox.note([condition(3)]);
    await clock.advance(1900);
    expect(sent.length).toBe(1);
    await clock.advance(200);
    expect(sent[1]).toEqual([2, 3]);
  });

  it("tells of a condition that changes again before it is sent what it has become", async () => {
    const clock = new VirtualClock();
    const sent: number[][] = [];
    const bus = { isConnected: true, publishReport: (payload: Uint8Array) => sent.push(numbers(ReportBatch.decode(payload).events)) > 0 };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus });
    for (let number = 1; number <= 200; number += 1) outbox.note([condition(number, 0, number % 2 === 0 ? "Even" : "Odd")]);
    await clock.advance(2_100);
    expect(sent).toEqual([[199, 200]]);
    outbox.takeAck({ outboxEpoch: outbox.epoch, seq: 1 });
    // What was sent stays: its seq is one report for ever.
    outbox.note([condition(201, 0, "Odd")]);
    await clock.advance(2_100);
    expect(sent.slice(1)).toEqual([[201]]);
  });

  it("keeps what is routine together until what was sent before is acknowledged, results not", async () => {
    const clock = new VirtualClock();
    const state = new MemoryStateDirectory();
    const sent: number[][] = [];
    const bus = { isConnected: true, publishReport: (payload: Uint8Array) => sent.push(numbers(ReportBatch.decode(payload).events)) > 0 };
    const outbox = await open({ clock, state, bus });
    outbox.note([condition(1)]);
    await clock.advance(2_100);
    for (let number = 2; number <= 4; number += 1) {
      outbox.note([condition(number)]);
      await clock.advance(1_000);
    }
    expect(sent).toEqual([[1]]);
    outbox.takeAck({ outboxEpoch: outbox.epoch, seq: 1 });
    await clock.advance(1);
    expect(sent).toEqual([[1], [2, 3, 4]]);
    await outbox.record([result(5)]);
    expect(sent.slice(2)).toEqual([[5]]);
    // An ack that stays away keeps nothing in memory alone for longer than a minute.
    outbox.note([condition(6)]);
    await clock.advance(2_100);
    const writes = state.writes;
    await clock.advance(60_000);
    expect([state.writes - writes, outbox.unacknowledged]).toEqual([1, 3]);
  });

  it("sends again later when the last ack took long", async () => {
    const clock = new VirtualClock();
    const sentAtMs: number[] = [];
    const bus = { isConnected: true, publishReport: () => sentAtMs.push(clock.monotonicMs()) > 0 };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus });
    await outbox.record([result(1)]);
    await clock.advance(20_000);
    expect(sentAtMs.length).toBeGreaterThan(1);
    outbox.takeAck({ outboxEpoch: outbox.epoch, seq: 1 });
    sentAtMs.length = 0;
    await outbox.record([result(2)]);
    await clock.advance(25_000);
    expect(sentAtMs.length).toBe(1);
    await clock.advance(30_000);
    expect(sentAtMs.length).toBe(2);
  });

  it("does not take an outage for a slow ack", async () => {
    const clock = new VirtualClock();
    const sentAtMs: number[] = [];
    const bus = { isConnected: false, publishReport: () => sentAtMs.push(clock.monotonicMs()) > 0 };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus });
    await outbox.record([result(1)]);
    await clock.advance(300_000);
    bus.isConnected = true;
    outbox.takeConnected();
    await clock.advance(2_000);
    outbox.takeAck({ outboxEpoch: outbox.epoch, seq: 1 });
    sentAtMs.length = 0;
    await outbox.record([result(2)]);
    await clock.advance(10_000);
    expect(sentAtMs.length).toBeGreaterThan(1);
  });

  it("seals at 64 events and at 32 KiB without waiting", async () => {
    const clock = new VirtualClock();
    const sent: ReportBatch[] = [];
    const bus = { isConnected: true, publishReport: (payload: Uint8Array) => sent.push(ReportBatch.decode(payload)) > 0 };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus });
    outbox.note(Array.from({ length: 70 }, (_, index) => condition(index)));
    await outbox.flush();
    outbox.note(Array.from({ length: 5 }, (_, index) => condition(100 + index, 8000)));
    await clock.advance(0);
    expect(sent.map((batch) => batch.events.length)).toEqual([64, 6, 4, 1]);
    for (const batch of sent) expect(ReportBatch.encode(batch).finish().length).toBeLessThanOrEqual(32 * 1024);
  });

  it("slows down when acks stay away, sends again from the ack, and recovers", async () => {
    const clock = new VirtualClock();
    const at: number[] = [];
    const bus = { isConnected: true, publishReport: () => at.push(clock.monotonicMs()) > 0 };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus });
    await outbox.record([result(1)]);
    await clock.advance(3_600_000);
    const gaps = at.slice(1).map((time, index) => time - at[index]!);
    expect(gaps.length).toBeLessThan(30);
    expect(gaps[0]).toBeLessThan(10_000);
    expect(gaps.at(-1)).toBeGreaterThan(60_000);
    outbox.takeAck({ outboxEpoch: outbox.epoch, seq: 1 });
    const sends = at.length;
    await clock.advance(3_600_000);
    expect(at.length).toBe(sends);
  });

  it("sends a result at once while acks stay away, and lets news wait", async () => {
    const clock = new VirtualClock();
    const sent: ReportBatch[] = [];
    const bus = { isConnected: true, publishReport: (payload: Uint8Array) => sent.push(ReportBatch.decode(payload)) > 0 };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus });
    await outbox.record([result(1)]);
    await clock.advance(3_600_000);
    const before = sent.length;
    outbox.note([condition(2)]);
    await clock.advance(10);
    expect(sent.length).toBe(before);
    await outbox.record([result(3)]);
    expect(sent.length).toBeGreaterThan(before);
    expect(sent.at(-1)!.seq).toBe(2);
  });

  it("drops routine events when it is full, tells the gap, keeps every result, and asks for all to be told again", async () => {
    const clock = new VirtualClock();
    const receiver = new Receiver();
    let roomAgain = 0;
    const waiting: Uint8Array[] = [];
    const bus: Bus = { isConnected: false, publishReport: (payload) => waiting.push(payload) > 0 };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus, maxBytes: 20_000, onRoomAgain: () => (roomAgain += 1) });
    for (let index = 0; index < 100; index += 1) {
      outbox.note([condition(index, 300)]);
      await clock.advance(3000);
    }
    expect(outbox.isPressed).toBe(true);
    for (let index = 0; index < 120; index += 1) await outbox.record([result(1000 + index)]);
    bus.isConnected = true;
    outbox.takeConnected();
    for (let round = 0; round < 500; round += 1) {
      await clock.advance(1000);
      for (const payload of waiting.splice(0)) outbox.takeAck(receiver.receive(payload));
    }
    const got = numbers(receiver.folded);
    expect(got.filter((number) => number >= 1000)).toEqual(Array.from({ length: 120 }, (_, index) => 1000 + index));
    const dropped = receiver.folded.reduce((sum, { body }) => sum + (body?.$case === "gap" ? body.value.droppedEvents : 0), 0);
    expect(dropped).toBe(100 - got.filter((number) => number < 1000).length);
    expect([outbox.unacknowledged, roomAgain]).toEqual([0, 1]);
  });

  it("drops an event that the bus could not carry, tells the gap, and goes on", async () => {
    const sent: Event[] = [];
    const bus = { isConnected: true, publishReport: (payload: Uint8Array) => sent.push(...ReportBatch.decode(payload).events) > 0 };
    const outbox = await open({ state: new MemoryStateDirectory(), bus });
    await outbox.record([condition(1, 70_000)]);
    await outbox.record([result(2)]);
    expect(sent.map(({ body }) => body?.$case)).toEqual(["gap", "stepResult"]);
  });

  it("starts a new epoch when the coordinator has acknowledged what it never held", async () => {
    const bus = { isConnected: true, publishReport: () => true };
    const outbox = await open({ state: new MemoryStateDirectory(), bus });
    const { epoch } = outbox;
    await outbox.record([result(1)]);
    outbox.takeAck({ outboxEpoch: epoch, seq: 7 });
    await outbox.flush();
    expect(outbox.epoch.equals(epoch)).toBe(false);
    expect(outbox.unacknowledged).toBe(1);
  });

  it("goes on in a new epoch, once, when the coordinator has lost what it had acknowledged", async () => {
    const clock = new VirtualClock();
    let receiver = new Receiver();
    let toldAgain = 0;
    const bus: Bus = {
      isConnected: true,
      publishReport(payload) {
        const ack = receiver.receive(payload);
        clock.setTimer(10, () => outbox.takeAck(ack));
        return true;
      },
    };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus, onLost: () => (toldAgain += 1) });
    const { epoch } = outbox;
    for (let number = 1; number <= 5; number += 1) await outbox.record([result(number)]);
    await clock.advance(100);
    expect(outbox.unacknowledged).toBe(0);
    receiver = new Receiver();
    for (let number = 6; number <= 20; number += 1) await outbox.record([result(number)]);
    await clock.advance(10_000);
    expect(numbers(receiver.folded)).toEqual(Array.from({ length: 15 }, (_, index) => 6 + index));
    expect([outbox.unacknowledged, outbox.epoch.equals(epoch), toldAgain]).toEqual([0, false, 1]);
  });

  it("is in doubt while the answer to a session stays away, and while one was too low: an idle node would never learn of a loss", async () => {
    const clock = new VirtualClock();
    let lost = 0;
    const bus = { isConnected: true, publishReport: () => true };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus, onLost: () => (lost += 1) });
    await outbox.record([result(1)]);
    const ack = (seq: number): void => outbox.takeAck({ outboxEpoch: outbox.epoch, seq });
    ack(1);
    expect(outbox.isInDoubt).toBe(false);
    outbox.expectAck();
    await clock.advance(600_000);
    expect(outbox.isInDoubt).toBe(true);
    ack(1);
    expect(outbox.isInDoubt).toBe(false);
    // A new coordinator without the report log: the first answer may be a late one, the second is not.
    outbox.expectAck();
    ack(0);
    expect([outbox.isInDoubt, lost]).toEqual([true, 0]);
    await clock.advance(600_000);
    outbox.expectAck();
    ack(0);
    await clock.advance(0);
    expect([outbox.isInDoubt, lost]).toEqual([false, 1]);
  });

  it("stays in its epoch when an ack comes late", async () => {
    const clock = new VirtualClock();
    const bus = { isConnected: true, publishReport: () => true };
    const outbox = await open({ clock, state: new MemoryStateDirectory(), bus });
    const { epoch } = outbox;
    for (let number = 1; number <= 5; number += 1) await outbox.record([result(number)]);
    outbox.takeAck({ outboxEpoch: epoch, seq: 4 });
    outbox.takeAck({ outboxEpoch: epoch, seq: 3 });
    await clock.advance(60_000);
    outbox.takeAck({ outboxEpoch: epoch, seq: 4 });
    outbox.takeAck({ outboxEpoch: epoch, seq: 2 });
    await outbox.flush();
    expect(outbox.epoch.equals(epoch)).toBe(true);
  });

  it("I5: delivers every recorded event once and in order under losses, duplicates, late acks and restarts", async () => {
    const action = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant("record" as const) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("note" as const) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("time" as const), ms: fc.integer({ min: 1, max: 20_000 }) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("network" as const), isUp: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("crash" as const), untrim: fc.boolean() }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 60 }), fc.integer(), async (actions, seed) => {
        const clock = new VirtualClock();
        const state = new MemoryStateDirectory();
        const random = seededRandom(seed);
        const receiver = new Receiver();
        let outbox: Outbox | undefined;
        let isLossy = true;
        const acks: { outboxEpoch: Buffer; seq: number }[] = [];
        const bus: Bus = {
          isConnected: true,
          publishReport(payload) {
            const copies = isLossy ? Math.floor(random.unit() * 3) : 1;
            for (let copy = 0; copy < copies; copy += 1) {
              const ack = receiver.receive(payload);
              if (!isLossy || random.unit() < 0.6) acks.push(ack);
            }
            return true;
          },
        };
        const deliver = (): void => {
          // Acks come late and, while the network is bad, in any order.
          for (const ack of acks.splice(0).sort(() => (isLossy ? random.unit() - 0.5 : 0))) outbox?.takeAck(ack);
        };
        const stops: AbortController[] = [];
        const start = async (): Promise<void> => {
          stops.at(-1)?.abort();
          outbox = await open({ clock, state: state.session(), bus, random });
          const stop = new AbortController();
          stops.push(stop);
          outbox.run(stop.signal).catch(() => undefined);
        };
        await start();
        let next = 0;
        const durable: number[] = [];
        for (const each of actions) {
          if (each.kind === "record") {
            next += 1;
            await outbox!.record([result(next)]);
            durable.push(next);
          } else if (each.kind === "note") {
            outbox!.note([condition(-1)]);
          } else if (each.kind === "network") {
            bus.isConnected = each.isUp;
            if (each.isUp) outbox!.takeConnected();
          } else if (each.kind === "crash") {
            state.crash({ untrim: each.untrim });
            await start();
          } else {
            await clock.advance(each.ms);
            deliver();
          }
        }
        isLossy = false;
        bus.isConnected = true;
        outbox!.takeConnected();
        for (let round = 0; round < 200 && outbox!.unacknowledged > 0; round += 1) {
          await clock.advance(10_000);
          deliver();
        }
        expect(outbox!.unacknowledged).toBe(0);
        expect(numbers(receiver.folded).filter((number) => number > 0)).toEqual(durable);
        stops.at(-1)?.abort();
      }),
      { numRuns: 150, seed: 20260101 },
    );
  });
});
