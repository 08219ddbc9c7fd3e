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

it.each([
  ["what is still desired is confirmed", { planEpoch: 1, generation: 4 }, true, ["welcome", "confirmPlan"]],
  ["what its rollout has aborted is cancelled", { planEpoch: 1, generation: 4 }, false, ["welcome", "cancelPlan"]],
  ["not what something newer has replaced", { planEpoch: 1, generation: 5 }, true, ["welcome"]],
  ["not a generation of another epoch", { planEpoch: 2, generation: 4 }, true, ["welcome"]],
])("I4: %s", async (_what, wanted, may, expected) => {
  const clock = new VirtualClock();
  const desired = { ...wanted, nodeId: NODE, revision: "r", nodeSet: "s", rollout: "roll", plan: "", decidedAtMs: 0 };
  const sessions = new Sessions({
    clock,
    random: seededRandom(2),
    log: silentLog,
    bus: memoryBus(clock, seededRandom(1)),
    desired: () => desired,
    takenOf: () => 0,
    mayConfirm: (_node, { rollout }) => rollout === "roll" && may,
    events: { knowsMore: () => undefined, cloneSuspected: () => undefined, changed: () => undefined },
  });
  async function* said(): AsyncGenerator<ConverseRequest> {
    const { planEpoch, generation } = wanted;
    const hello = { acceptedEpoch: planEpoch, acceptedGeneration: generation, processId: Buffer.alloc(16, 1) };
    yield { body: { $case: "hello", value: Hello.fromPartial(hello) } };
    yield { body: { $case: "confirmRequest", value: { planEpoch: 1, generation: 4 } } };
    yield { body: { $case: "idle", value: {} } };
  }
  const heard = [];
  for await (const { body } of sessions.converse(NODE, said(), new AbortController().signal)) heard.push(body?.$case);
  expect(heard).toEqual(expected);
});
