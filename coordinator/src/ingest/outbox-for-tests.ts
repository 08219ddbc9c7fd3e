/** A node's outbox as the protocol has it, as small as can be: kept until acked, sent again on a timer. Imported by tests only. */
import { type Clock, sleep } from "@drover/lifecycle";
import { ReportBatch } from "@drover/proto";
import type { AgentPort } from "../bus/agent-port.ts";

export class TestOutbox {
  readonly nodeId: string;
  readonly epoch: Buffer;
  /** Everything up to and with it was acknowledged. */
  acked = 0;
  written = 0;
  readonly #port: AgentPort;
  readonly #clock: Clock;
  readonly #kept = new Map<number, Buffer>();

  constructor(port: AgentPort, nodeId: string, epoch: Buffer, clock: Clock) {
    this.#port = port;
    this.nodeId = nodeId;
    this.epoch = epoch;
    this.#clock = clock;
    port.onToNode(({ body }) => {
      if (body?.$case !== "ack" || !body.value.outboxEpoch.equals(epoch)) return;
      this.acked = Math.max(this.acked, body.value.seq);
      for (const seq of this.#kept.keys()) if (seq <= this.acked) this.#kept.delete(seq);
    });
  }

  write(): void {
    const seq = ++this.written;
    const events = [{ atMs: seq, generation: seq, body: { $case: "planAccepted" as const, value: { revision: `r${seq}` } } }];
    const bytes = Buffer.from(
      ReportBatch.encode(ReportBatch.fromPartial({ nodeId: this.nodeId, outboxEpoch: this.epoch, seq, events })).finish(),
    );
    this.#kept.set(seq, bytes);
    this.#port.publishReport(bytes);
  }

  /** Sends again whatever is not acked, now and then, until the signal aborts. */
  async resend(everyMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#clock, everyMs, signal).catch(() => undefined);
      for (const bytes of [...this.#kept.values()].slice(0, 200)) this.#port.publishReport(bytes);
    }
  }
}
