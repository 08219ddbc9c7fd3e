/** Nodes that ask for join credentials, by whole conversations with Sessions. */
import { inspect } from "node:util";
import { type Log, Secret, seededRandom, VirtualClock } from "@drover/lifecycle";
import { type ConverseRequest, Hello, type JoinCredential } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { memoryBus } from "../bus/memory-bus.ts";
import type { JoinCredentialAnswer, JoinCredentialWanted } from "../cluster/clusters.ts";
import { Channel } from "./channel.ts";
import { Sessions } from "./sessions.ts";

const NODE = "aaaaaaaaaa";
const TOKEN = "abcdef.0123456789abcdef";

interface Minting {
  readonly wanted: JoinCredentialWanted;
  readonly signal: AbortSignal;
  readonly give: (answer: JoinCredentialAnswer) => void;
  readonly fail: (error: Error) => void;
}

class World {
  readonly clock = new VirtualClock();
  readonly minted: Minting[] = [];
  readonly logged: unknown[] = [];
  readonly sessions: Sessions;
  readonly stop = new AbortController();

  constructor(hasClusters = true) {
    const { clock } = this;
    const tell = (...what: unknown[]): void => void this.logged.push(...what);
    const log: Log = { debug: tell, info: tell, warn: tell, error: tell, child: () => log };
    this.sessions = new Sessions({
      clock,
      random: seededRandom(2),
      log,
      bus: memoryBus(clock, seededRandom(1)),
      desired: () => undefined,
      takenOf: () => 0,
      joinCredential: hasClusters ? (wanted, signal) => this.#mint(wanted, signal) : undefined,
      events: { knowsMore: () => undefined, cloneSuspected: () => undefined, changed: () => undefined },
    });
  }

  #mint(wanted: JoinCredentialWanted, signal: AbortSignal): Promise<JoinCredentialAnswer> {
    return new Promise((resolve, reject) => this.minted.push({ wanted, signal, give: resolve, fail: reject }));
  }

  converse(nodeId = NODE) {
    const inbound = new Channel<ConverseRequest>(100);
    inbound.push({ body: { $case: "hello", value: Hello.fromPartial({ processId: Buffer.alloc(16, 1) }) } });
    const answers: JoinCredential[] = [];
    const state: { hasEnded: boolean; failure: unknown } = { hasEnded: false, failure: undefined };
    void (async () => {
      try {
        for await (const { body } of this.sessions.converse(nodeId, inbound, this.stop.signal))
          if (body?.$case === "joinCredential") answers.push(body.value);
      } catch (error) {
        state.failure = error;
      }
      state.hasEnded = true;
    })();
    return {
      answers,
      state,
      ask: (requestId: string, cluster = "prod", generation = 3) =>
        inbound.push({ body: { $case: "joinCredentialRequest", value: { requestId, cluster, generation } } }),
      idle: () => inbound.push({ body: { $case: "idle", value: {} } }),
      hangUp: () => inbound.close(),
    };
  }
}

const given: JoinCredentialAnswer = { ok: true, token: new Secret(TOKEN), expiresAtMs: 900_000 };

describe("a node that asks for a join credential", () => {
  it("gets it by the session that it asked in, which stays open until then, and only the node it is", async () => {
    const world = new World();
    const session = world.converse();
    session.ask("r1");
    await world.clock.advance(100);
    session.idle();
    await world.clock.advance(20_000);
    expect(world.minted.map(({ wanted }) => wanted)).toEqual([{ nodeId: NODE, cluster: "prod", generation: 3 }]);
    expect(session.state.hasEnded).toBe(false);
    world.minted[0]!.give(given);
    await world.clock.advance(10);
    const answer = { requestId: "r1", bootstrapToken: TOKEN, expiresAtMs: 900_000, reason: "", message: "" };
    expect(session.answers).toEqual([answer]);
    session.idle();
    await world.clock.advance(10);
    expect(session.state).toEqual({ hasEnded: true, failure: undefined });
    expect(inspect(world.logged, { depth: null })).not.toContain(TOKEN);
  });

  it("is told why there is none", async () => {
    const world = new World();
    const session = world.converse();
    session.ask("r1");
    await world.clock.advance(10);
    world.minted[0]!.give({ ok: false, status: "UNAVAILABLE", reason: "ClusterUnreachable", message: "10.0.0.1:6443: refused" });
    await world.clock.advance(3_000);
    session.ask("r2");
    await world.clock.advance(10);
    world.minted[1]!.fail(new RangeError(`a bug with ${TOKEN}`));
    await world.clock.advance(3_000);
    session.ask("r3");
    await world.clock.advance(26_000);
    expect(world.minted[2]!.signal.aborted).toBe(true);
    const refused = session.answers.map(({ requestId, bootstrapToken, reason }) => `${requestId} ${bootstrapToken} ${reason}`);
    expect(refused).toEqual(["r1  ClusterUnreachable", "r2  Internal", "r3  TimedOut"]);
    const logged = inspect(world.logged, { depth: null });
    expect(logged).toMatch(/RangeError while a bootstrap token was minted[\s\S]*join-requests\.test\.ts/);
    expect(logged + inspect(session.answers)).not.toContain(TOKEN);
    world.stop.abort();
  });

  it("is told that there are no clusters where there are none", async () => {
    const world = new World(false);
    const session = world.converse();
    session.ask("r1");
    await world.clock.advance(10);
    expect(session.answers).toMatchObject([{ requestId: "r1", reason: "NoClusters", bootstrapToken: "" }]);
    world.stop.abort();
  });

  it.each([
    ["a cluster that is no name", "../prod", 3],
    ["an empty cluster", "", 3],
    ["a name that is too long", "a".repeat(64), 3],
    ["no generation", "prod", 0],
  ])("is refused %s", async (_what, cluster, generation) => {
    const world = new World();
    const session = world.converse();
    session.ask("r1", cluster, generation);
    await world.clock.advance(10);
    expect(session.answers).toMatchObject([{ reason: "InvalidRequest", bootstrapToken: "" }]);
    expect(world.minted).toEqual([]);
    world.stop.abort();
  });

  it.each(["", "x".repeat(65)])("loses its session over a request id of another protocol: %j", async (requestId) => {
    const world = new World();
    const session = world.converse();
    session.ask(requestId);
    await world.clock.advance(10);
    expect(session.state).toMatchObject({ hasEnded: true, failure: { refusal: { reason: "InvalidRequest" } } });
  });

  it("makes the coordinator mint once in 2 s and ten times a minute at the most, and takes nothing from other nodes", async () => {
    const world = new World();
    const session = world.converse();
    session.ask("a");
    session.ask("b");
    await world.clock.advance(10);
    expect([world.minted.length, session.answers]).toMatchObject([1, [{ requestId: "b", reason: "RateLimited" }]]);
    const other = world.converse("bbbbbbbbbb");
    other.ask("a");
    await world.clock.advance(10);
    expect(world.minted).toHaveLength(2);
    for (let passedMs = 0; passedMs < 57_000; passedMs += 1_000) {
      session.ask(`c${passedMs}`);
      await world.clock.advance(1_000);
      for (const { give } of world.minted) give(given);
    }
    const own = world.minted.filter(({ wanted }) => wanted.nodeId === NODE).length;
    expect(own).toBeGreaterThanOrEqual(8);
    expect(own).toBeLessThanOrEqual(10);
    world.stop.abort();
  });

  it("has one minting under way: a newer question ends the one before, and waits until that has cleaned up", async () => {
    const world = new World();
    const session = world.converse();
    session.ask("r1");
    await world.clock.advance(2_500);
    session.ask("r2");
    await world.clock.advance(100);
    expect(world.minted.map(({ signal }) => signal.aborted)).toEqual([true]);
    expect(session.answers).toMatchObject([{ requestId: "r1", reason: "Superseded" }]);
    world.minted[0]!.fail(new Error("told to stop"));
    await world.clock.advance(10);
    world.minted[1]!.give(given);
    await world.clock.advance(10);
    expect(session.answers.at(-1)).toMatchObject({ requestId: "r2", bootstrapToken: TOKEN });
    world.stop.abort();
  });

  it("has its minting ended when its session is, so that what was made is taken back", async () => {
    const world = new World();
    const session = world.converse();
    session.ask("r1");
    await world.clock.advance(10);
    session.hangUp();
    await world.clock.advance(10);
    expect(world.minted[0]!.signal.aborted).toBe(true);
    expect(session.state).toEqual({ hasEnded: true, failure: undefined });
  });
});
