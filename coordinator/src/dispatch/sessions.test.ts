import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { type Ack, type ConverseRequest, Hello } from "@drover/proto";
import { expect, it } from "vitest";
import { memoryBus } from "../bus/memory-bus.ts";
import { Sessions } from "./sessions.ts";

const NODE = "aaaaaaaaaa";

it.each([
  [
    "how far its outbox was taken, as an idle node hears of a lost log nowhere else",
    Buffer.alloc(8, 1),
    [{ outboxEpoch: Buffer.alloc(8, 1), seq: 7 }],
  ],
  ["nothing about an outbox that can be none", Buffer.alloc(9, 1), []],
])("answers a node's Hello with %s", async (_what, outboxEpoch, expected) => {
  const clock = new VirtualClock();
  const acks: Ack[] = [];
  const bus = Object.assign(memoryBus(clock, seededRandom(1)), { acknowledge: (_node: string, ack: Ack) => void acks.push(ack) });
  const sessions = new Sessions({
    clock,
    random: seededRandom(2),
    log: silentLog,
    bus,
    desired: () => undefined,
    takenOf: (nodeId, epoch) => (nodeId === NODE && epoch === "01".repeat(8) ? 7 : 0),
    events: { knowsMore: () => undefined, cloneSuspected: () => undefined, changed: () => undefined },
  });
  async function* said(): AsyncGenerator<ConverseRequest> {
    yield { body: { $case: "hello", value: Hello.fromPartial({ outboxEpoch, processId: Buffer.alloc(16, 1) }) } };
    yield { body: { $case: "idle", value: {} } };
  }
  const heard = [];
  for await (const { body } of sessions.converse(NODE, said(), new AbortController().signal)) heard.push(body?.$case);
  expect(heard).toEqual(["welcome"]);
  expect(acks).toEqual(expected);
});
