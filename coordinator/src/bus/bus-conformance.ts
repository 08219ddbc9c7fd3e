/** What every Bus must do; run on the real NATS and on the one in memory. Imported by tests only. */
import { type Clock, sleep, systemClock } from "@drover/lifecycle";
import { Ack, Budget, Heartbeat, ReportBatch, shardOf, type ToNode, Wake } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AgentPort } from "./agent-port.ts";
import type { Bus, HeartbeatMessage, ReportPull } from "./bus.ts";

export interface BusUnderTest {
  readonly bus: Bus;
  /** The node's side, with a key that revokeUser knows by publicKeyOf. */
  agentPort(nodeId: string): AgentPort;
  publicKeyOf(nodeId: string): string;
  /** The broker comes back without anything it kept. */
  loseAll(): Promise<void>;
  close(): Promise<void>;
}

const NODE = "aaaaaaaaaa";
const OTHER = "bbbbbbbbbb";

export function busConformance(name: string, open: () => Promise<BusUnderTest>): void {
  describe(`${name} as a Bus`, () => {
    let under: BusUnderTest;
    let stop: AbortController;
    let running: Promise<unknown>[];

    beforeEach(async () => {
      stop = new AbortController();
      running = [];
      under = await open();
    });

    afterEach(async () => {
      stop.abort();
      await Promise.all(running);
      await under.close();
    });

    const connectAgent = async (nodeId: string): Promise<{ port: AgentPort; received: ToNode[]; budgets: Budget[] }> => {
      const port = under.agentPort(nodeId);
      const received: ToNode[] = [];
      const budgets: Budget[] = [];
      port.onToNode((message) => received.push(message));
      port.onBudget((budget) => budgets.push(budget));
      const connected = new Promise<void>((resolve) => port.onConnected(resolve));
      running.push(port.run(stop.signal));
      await connected;
      return { port, received, budgets };
    };
    const beat = (seq: number): Uint8Array => Heartbeat.encode(Heartbeat.fromPartial({ seq })).finish();
    const report = (nodeId: string, seq: number): Uint8Array => ReportBatch.encode(ReportBatch.fromPartial({ nodeId, seq })).finish();
    const collectBeats = (): HeartbeatMessage[] => {
      const beats: HeartbeatMessage[] = [];
      running.push(under.bus.consumeHeartbeats((some) => void beats.push(...some), stop.signal));
      return beats;
    };
    const collectPulls = (after?: { incarnation: string; sequence: number }, signal = stop.signal): ReportPull[] => {
      const pulls: ReportPull[] = [];
      const consuming = under.bus.consumeReports(
        after,
        async (pull) => {
          pulls.push(pull);
        },
        signal,
      );
      running.push(consuming);
      return pulls;
    };
    const seqs = (pulls: readonly ReportPull[]): number[] =>
      pulls.flatMap((pull) => pull.messages.map((message) => ReportBatch.decode(message.payload).seq));

    it("brings hints to the node they are for, and budgets to the nodes of the shard", async () => {
      const one = await connectAgent(NODE);
      const other = await connectAgent(OTHER);
      under.bus.wake(NODE, Wake.fromPartial({ generation: 7 }));
      under.bus.acknowledge(NODE, Ack.fromPartial({ outboxEpoch: Buffer.alloc(8, 1), seq: 3 }));
      under.bus.grantBudget(shardOf(NODE), Budget.fromPartial({ heartbeatIntervalMs: 10_000 }));
      await until(() => one.received.length === 2 && one.budgets.length === 1);
      expect(one.received.map((message) => message.body?.$case)).toEqual(["wake", "ack"]);
      expect(one.budgets[0]?.heartbeatIntervalMs).toBe(10_000);
      expect(other.received).toEqual([]);
    });

    it("shows the last beat of each node first, then live ones, and its own sentinel without a node", async () => {
      const { port } = await connectAgent(NODE);
      const early = new AbortController();
      const first: HeartbeatMessage[] = [];
      const consuming = under.bus.consumeHeartbeats((some) => void first.push(...some), AbortSignal.any([early.signal, stop.signal]));
      running.push(consuming);
      await until(() => {
        under.bus.publishSentinel(1);
        return first.some((message) => message.nodeId === undefined);
      });
      for (let seq = 1; seq <= 5; seq++) port.publishHeartbeat(beat(seq));
      await until(() => first.some((message) => message.nodeId === NODE && Heartbeat.decode(message.payload).seq === 5));
      early.abort();
      await consuming;

      const beats = collectBeats();
      await until(() => beats.some((message) => message.nodeId === NODE));
      expect(beats.filter((message) => message.nodeId === NODE).map((message) => Heartbeat.decode(message.payload).seq)).toEqual([5]);
      port.publishHeartbeat(beat(6));
      await until(() => beats.some((message) => message.nodeId === NODE && Heartbeat.decode(message.payload).seq === 6));
      under.bus.publishSentinel(2);
      await until(() => beats.some((message) => message.nodeId === undefined && Heartbeat.decode(message.payload).seq === 2));
      expect(Math.abs(beats.at(-1)!.brokerMs - Date.now())).toBeLessThan(5_000);
    });

    it("hands over reports in order, and goes on after the position it is given", async () => {
      const { port } = await connectAgent(NODE);
      const early = new AbortController();
      const pulls = collectPulls(undefined, AbortSignal.any([early.signal, stop.signal]));
      await until(() => port.publishReport(report(NODE, 1)) && seqs(pulls).length > 0);
      for (let seq = 2; seq <= 20; seq++) expect(port.publishReport(report(NODE, seq))).toBe(true);
      await until(() => seqs(pulls).at(-1) === 20);
      expect(seqs(pulls)).toEqual(seqs(pulls).toSorted((a, b) => a - b));
      early.abort();
      const all = pulls.flatMap((pull) => pull.messages);
      const tenth = all.find((message) => ReportBatch.decode(message.payload).seq === 10)!;

      const again = collectPulls({ incarnation: pulls[0]!.incarnation, sequence: tenth.sequence });
      await until(() => seqs(again).at(-1) === 20);
      expect(seqs(again)).toEqual([11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
      expect(again[0]!.incarnation).toBe(pulls[0]!.incarnation);
    });

    it("calls what the handler resolves to after the batch, and ends with the handler's error", async () => {
      const { port } = await connectAgent(NODE);
      const order: string[] = [];
      const consuming = under.bus.consumeReports(
        undefined,
        async () => {
          if (order.length > 0) throw new Error("disk gone");
          order.push("handled");
          return () => void order.push("after");
        },
        stop.signal,
      );
      const ended = expect(consuming).rejects.toThrow("disk gone");
      await until(() => port.publishReport(report(NODE, 1)) && order.includes("after"));
      port.publishReport(report(NODE, 2));
      await ended;
      expect(order).toEqual(["handled", "after"]);
    });

    it("names a new incarnation when the broker lost everything, and goes on from its start", async () => {
      const { port } = await connectAgent(NODE);
      const pulls = collectPulls();
      await until(() => port.publishReport(report(NODE, 1)) && seqs(pulls).length > 0);
      const before = pulls[0]!.incarnation;
      await under.loseAll();
      await until(() => port.isConnected && port.publishReport(report(NODE, 2)) && seqs(pulls).includes(2));
      const after = pulls.find((pull) => pull.incarnation !== before);
      expect(after).toBeDefined();
      expect(after!.firstSequence).toBeLessThan(20);
    });

    it("cuts a revoked node within 5 s, for good, and disturbs nobody else", async () => {
      const one = await connectAgent(NODE);
      const other = await connectAgent(OTHER);
      let reconnects = 0;
      other.port.onConnected(() => {
        reconnects += 1;
      });
      await under.bus.revokeUser(under.publicKeyOf(NODE), systemClock.now());
      await until(() => !one.port.isConnected, 5_000);
      const pulls = collectPulls();
      await until(() => {
        one.port.publishReport(report(NODE, 1));
        return other.port.publishReport(report(OTHER, 2)) && seqs(pulls).includes(2);
      });
      expect(seqs(pulls)).not.toContain(1);
      expect(one.port.isConnected).toBe(false);
      expect(other.port.isConnected).toBe(true);
      expect(reconnects).toBe(0);
    });

    it("tells its round trip", async () => {
      await until(() => under.bus.isConnected);
      expect(await under.bus.roundTripMs()).toBeLessThan(1_000);
    });
  });
}

/** Waits for a condition. @throws when it has not come true in time */
export async function until(condition: () => boolean | Promise<boolean>, deadlineMs = 15_000, clock: Clock = systemClock): Promise<void> {
  const endMs = clock.monotonicMs() + deadlineMs;
  while (!(await condition())) {
    if (clock.monotonicMs() > endMs) throw new Error(`not within ${deadlineMs} ms: ${condition.toString()}`);
    await sleep(clock, 10);
  }
}
