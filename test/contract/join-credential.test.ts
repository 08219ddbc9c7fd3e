/** A bootstrap token on its way: the real agent's side of the conversation against the coordinator's, in memory, on one virtual clock. */
import { Secret, seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { type ConverseRequest, type ConverseResponse, Facts, Impact, KubeadmSpec, Plan } from "@drover/proto";
import { expect, it } from "vitest";
import { createAgent } from "../../agent/src/agent.ts";
import { fakeHost, fakeSteps } from "../../agent/src/fake/index.ts";
import { MemoryStateDirectory } from "../../agent/src/state/index.ts";
import { memoryBus } from "../../coordinator/src/bus/memory-bus.ts";
import type { JoinCredentialAnswer } from "../../coordinator/src/cluster/clusters.ts";
import { Channel } from "../../coordinator/src/dispatch/channel.ts";
import { Sessions } from "../../coordinator/src/dispatch/sessions.ts";

const NODE = "abcdefghij";

class World {
  readonly clock = new VirtualClock();
  readonly minted: { readonly signal: AbortSignal; readonly give: (answer: JoinCredentialAnswer) => void }[] = [];
  readonly links: AbortController[] = [];
  readonly tokens: string[] = [];
  readonly stop = new AbortController();
  readonly coordinator: Sessions;
  readonly running: Promise<void>;

  constructor() {
    const { clock } = this;
    const steps = [{ id: "kubeadm", spec: { $case: "kubeadm" as const, value: KubeadmSpec.fromPartial({ cluster: "prod" }) } }];
    const plan = Plan.fromPartial({ nodeId: NODE, planEpoch: 1, generation: 1, revision: "r", impactBound: Impact.IMPACT_DRAIN, steps });
    const desired = {
      nodeId: NODE,
      planEpoch: 1,
      generation: 1,
      revision: "r",
      nodeSet: "web",
      rollout: "web-1",
      plan: Buffer.from(Plan.encode(plan).finish()).toString("base64"),
      decidedAtMs: 0,
    };
    this.coordinator = new Sessions({
      clock,
      random: seededRandom(1),
      log: silentLog,
      bus: memoryBus(clock, seededRandom(2)),
      desired: () => desired,
      takenOf: () => 0,
      joinCredential: (_wanted, signal) => new Promise((resolve) => this.minted.push({ signal, give: resolve })),
      events: { knowsMore: () => undefined, cloneSuspected: () => undefined, changed: () => undefined },
    });
    let isJoined = false;
    const agent = createAgent({
      nodeId: NODE,
      agentVersion: "0.1.0",
      host: fakeHost({}),
      steps: {
        ...fakeSteps(),
        kubeadm: {
          kind: "kubeadm",
          emptySpec: KubeadmSpec.create(),
          observe: () => Promise.resolve(undefined),
          refuse: () => undefined,
          diff: () => (isJoined ? [] : [{ path: "member", from: "", to: "prod", impact: Impact.IMPACT_DRAIN, note: "" }]),
          conditions: () => [],
          apply: async (_spec, _changes, { credentials, generation, signal }) => {
            this.tokens.push((await credentials.bootstrapToken({ cluster: "prod", generation }, signal)).reveal());
            isJoined = true;
          },
        },
      },
      state: new MemoryStateDirectory().session(),
      bus: {
        isConnected: true,
        publishHeartbeat: () => undefined,
        publishReport: () => true,
        onToNode: () => undefined,
        onBudget: () => undefined,
        onConnected: () => undefined,
        run: (signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true })),
      },
      sessions: { open: async () => this.#open() },
      clock,
      random: seededRandom(7),
      log: silentLog,
      facts: async () => Facts.fromPartial({ hostname: "h" }),
      processId: Buffer.alloc(16, 1),
    });
    this.running = agent.run(this.stop.signal);
  }

  get isOpen(): boolean {
    return this.coordinator.isLive(NODE);
  }

  async end(): Promise<void> {
    this.stop.abort(new Error("stop"));
    await this.clock.advance(60_000);
    await this.running;
  }

  #open() {
    const inbound = new Channel<ConverseRequest>(1_000);
    const link = new AbortController();
    this.links.push(link);
    const responses = this.coordinator.converse(NODE, inbound, link.signal);
    async function* received(): AsyncGenerator<ConverseResponse> {
      yield* responses;
      if (link.signal.aborted) throw new Error("reset by peer");
    }
    return { send: async (message: ConverseRequest) => void inbound.push(message), received, close: () => inbound.close() };
  }
}

const given = (token: string): JoinCredentialAnswer => ({ ok: true, token: new Secret(token), expiresAtMs: 1 });

it("reaches the step that asked, by a session that neither side closes before, and both close afterwards", async () => {
  const world = new World();
  await world.clock.advance(25_000);
  expect([world.minted.length, world.links.length, world.isOpen]).toEqual([1, 1, true]);
  world.minted[0]!.give(given("abcdef.0123456789abcdef"));
  await world.clock.advance(2_000);
  expect([world.tokens, world.links.length, world.isOpen]).toEqual([["abcdef.0123456789abcdef"], 1, false]);
  await world.end();
});

it("is minted anew when the session breaks before it arrives, and the first minting is ended", async () => {
  const world = new World();
  await world.clock.advance(10_000);
  world.links[0]!.abort();
  await world.clock.advance(20_000);
  expect(world.minted[0]!.signal.aborted).toBe(true);
  world.minted[0]!.give(given("aaaaaa.0123456789abcdef"));
  await world.clock.advance(5_000);
  expect([world.minted.length, world.links.length, world.tokens]).toEqual([2, 2, []]);
  world.minted[1]!.give(given("bbbbbb.0123456789abcdef"));
  await world.clock.advance(2_000);
  expect([world.tokens, world.isOpen]).toEqual([["bbbbbb.0123456789abcdef"], false]);
  await world.end();
});

it("is asked for again when the coordinator was too slow", async () => {
  const world = new World();
  await world.clock.advance(35_000);
  expect([world.minted.map(({ signal }) => signal.aborted), world.tokens]).toEqual([[true], []]);
  for (let waitedMs = 0; world.minted.length < 2 && waitedMs < 60_000; waitedMs += 1_000) await world.clock.advance(1_000);
  world.minted[1]!.give(given("cccccc.0123456789abcdef"));
  await world.clock.advance(2_000);
  expect(world.tokens).toEqual(["cccccc.0123456789abcdef"]);
  await world.end();
});
