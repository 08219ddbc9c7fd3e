/** A whole agent whose kubeadm step asks for a bootstrap token, against a coordinator and NATS in memory. */
import { inspect } from "node:util";
import { type Log, seededRandom, VirtualClock } from "@drover/lifecycle";
import { type ConverseResponse, Facts, Impact, type JoinCredentialRequest, KubeadmSpec, Plan } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { createAgent } from "../agent.ts";
import { fakeHost, fakeSteps } from "../fake/index.ts";
import type { AgentBus, Conversation } from "../ports.ts";
import { MemoryStateDirectory } from "../state/index.ts";
import { type Credentials, type Step, StepError } from "../steps/step.ts";
import { JoinCredentials } from "./join-credentials.ts";

const NODE = "abcdefghij";
const TOKEN = "abcdef.0123456789abcdef";
const WANTED = { cluster: "prod", generation: 1 };

type Body = NonNullable<ConverseResponse["body"]>;

class World {
  readonly clock = new VirtualClock();
  /** All that left the agent or was logged: no token may be in it. */
  readonly told: unknown[] = [];
  readonly asked: { readonly request: JoinCredentialRequest; readonly answer: (body: Partial<Body["value"]>) => void }[] = [];
  readonly sessions: { readonly break: () => void; isOver: boolean }[] = [];
  readonly tokens: string[] = [];
  readonly failures: StepError[] = [];
  isCoordinatorUp = true;
  desired = planOf(1);
  /** The step's own context, for asking beside what apply asks. */
  credentials: Credentials | undefined;
  readonly #stop = new AbortController();
  #ended: Promise<unknown> = Promise.resolve();

  start(): void {
    const { clock } = this;
    const tell = (...what: unknown[]): void => void this.told.push(...what);
    const log: Log = { debug: tell, info: tell, warn: tell, error: tell, child: () => log };
    const bus: AgentBus = {
      isConnected: true,
      publishHeartbeat: tell,
      publishReport: (bytes) => (this.told.push(Buffer.from(bytes).toString("latin1")), true),
      onToNode: () => undefined,
      onBudget: () => undefined,
      onConnected: () => undefined,
      run: (signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true })),
    };
    const agent = createAgent({
      nodeId: NODE,
      agentVersion: "0.1.0",
      host: fakeHost({}),
      steps: { ...fakeSteps(), kubeadm: this.#step() },
      state: new MemoryStateDirectory().session(),
      bus,
      sessions: { open: async () => this.#open() },
      clock,
      random: seededRandom(7),
      log,
      facts: async () => Facts.fromPartial({ hostname: "h" }),
      processId: Buffer.alloc(16, 1),
    });
    this.#ended = agent.run(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error("stop"));
    await this.clock.advance(60_000);
    await this.#ended;
    expect(inspect(this.told, { depth: null, maxStringLength: null, maxArrayLength: null })).not.toContain(TOKEN);
  }

  #step(): Step<"kubeadm"> {
    let isJoined = false;
    return {
      kind: "kubeadm",
      emptySpec: KubeadmSpec.create(),
      observe: () => Promise.resolve(undefined),
      refuse: () => undefined,
      diff: () => (isJoined ? [] : [{ path: "member", from: "", to: "prod", impact: Impact.IMPACT_LIVE, note: "" }]),
      conditions: () => [],
      apply: async (_spec, _changes, context) => {
        const { credentials, signal, generation } = context;
        this.credentials = credentials;
        try {
          const token = await credentials.bootstrapToken({ cluster: "prod", generation }, signal);
          context.say(`given ${String(token)}`);
          this.tokens.push(token.reveal());
          isJoined = true;
        } catch (error) {
          if (error instanceof StepError) this.failures.push(error);
          throw error;
        }
      },
    };
  }

  #open(): Conversation {
    if (!this.isCoordinatorUp) throw new Error("connection refused");
    const waiting: ConverseResponse[] = [];
    let wake: () => void = () => undefined;
    let failure: Error | undefined;
    const session = {
      isOver: false,
      break: () => {
        failure = new Error("reset by peer");
        wake();
      },
    };
    this.sessions.push(session);
    const push = (body: Body): void => {
      waiting.push({ body });
      wake();
    };
    const end = (): void => {
      session.isOver = true;
      wake();
    };
    return {
      send: async ({ body }) => {
        this.told.push(body);
        if (body?.$case === "hello" && body.value.acceptedGeneration === 0)
          push({ $case: "applyPlan", value: { signedPlan: { plan: this.desired, signatures: [] } } });
        if (body?.$case === "joinCredentialRequest") {
          const { requestId } = body.value;
          const none = { requestId, bootstrapToken: "", expiresAtMs: 0, reason: "", message: "" };
          this.asked.push({
            request: body.value,
            answer: (value) => push({ $case: "joinCredential", value: { ...none, ...(value as typeof none) } }),
          });
        }
        if (body?.$case === "idle") end();
      },
      async *received() {
        for (;;) {
          if (failure !== undefined) {
            session.isOver = true;
            throw failure;
          }
          if (waiting.length > 0) yield* waiting.splice(0);
          else if (session.isOver) return;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      },
      close: end,
    };
  }
}

function planOf(generation: number): Buffer {
  const steps = [{ id: "kubeadm", spec: { $case: "kubeadm" as const, value: KubeadmSpec.fromPartial({ cluster: "prod" }) } }];
  const plan = Plan.fromPartial({ nodeId: NODE, planEpoch: 1, generation, revision: "r", impactBound: Impact.IMPACT_DRAIN, steps });
  return Buffer.from(Plan.encode(plan).finish());
}

describe("a step that needs a bootstrap token", () => {
  it("gets it by the session that brought the plan, which stays open until then and becomes idle afterwards", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(20_000);
    expect(world.asked.map(({ request }) => request)).toMatchObject([{ cluster: "prod", generation: 1 }]);
    expect(world.asked[0]!.request.requestId).toMatch(/^[0-9a-f]{16}$/);
    expect(world.sessions.map(({ isOver }) => isOver)).toEqual([false]);
    world.asked[0]!.answer({ bootstrapToken: TOKEN, expiresAtMs: 1 });
    await world.clock.advance(1_000);
    expect(world.tokens).toEqual([TOKEN]);
    expect(world.sessions.map(({ isOver }) => isOver)).toEqual([true]);
    await world.stop();
  });

  it("asks again in the next session, under another id, when one breaks before the answer", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(10_000);
    world.sessions[0]!.break();
    await world.clock.advance(20_000);
    expect(world.sessions).toHaveLength(2);
    const ids = world.asked.map(({ request }) => request.requestId);
    expect(new Set(ids).size).toBe(2);
    world.asked[1]!.answer({ bootstrapToken: TOKEN });
    await world.clock.advance(100);
    expect(world.tokens).toEqual([TOKEN]);
    await world.stop();
  });

  it("takes no answer to a question that is not its own or no longer asked", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(10_000);
    world.asked[0]!.answer({ requestId: "0000000000000000", bootstrapToken: "aaaaaa.0000000000000000" });
    world.sessions[0]!.break();
    await world.clock.advance(20_000);
    world.asked[1]!.answer({ requestId: world.asked[0]!.request.requestId, bootstrapToken: "bbbbbb.0000000000000000" });
    await world.clock.advance(100);
    expect([world.tokens, world.failures]).toEqual([[], []]);
    world.asked[1]!.answer({ bootstrapToken: TOKEN });
    world.asked[1]!.answer({ bootstrapToken: "cccccc.0000000000000000" });
    await world.clock.advance(100);
    expect(world.tokens).toEqual([TOKEN]);
    await world.stop();
  });

  it.each([
    [{ reason: "NotPlanned", message: "its plan names no cluster" }, "the coordinator gave none: NotPlanned: its plan names no cluster"],
    [{}, "the coordinator gave none: no reason"],
    [{ bootstrapToken: `${TOKEN}\n--config` }, "what the coordinator gave is no bootstrap token"],
  ])("is told why there is none, and may try again: %j", async (answer, message) => {
    const world = new World();
    world.start();
    await world.clock.advance(10_000);
    world.asked[0]!.answer(answer);
    await world.clock.advance(100);
    expect(world.failures).toMatchObject([{ reason: "JoinCredentialUnavailable", message, isRetryable: true }]);
    expect(world.sessions).toHaveLength(1);
    await world.stop();
  });

  it("asks a little later when it asked too often", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(10_000);
    world.asked[0]!.answer({ reason: "RateLimited", message: "wait" });
    await world.clock.advance(2_900);
    expect([world.asked.length, world.failures.length]).toEqual([1, 0]);
    await world.clock.advance(200);
    world.asked[1]!.answer({ bootstrapToken: TOKEN });
    await world.clock.advance(100);
    expect(world.tokens).toEqual([TOKEN]);
    await world.stop();
  });

  it("gives up 30 s after it asked in a session that stays silent", async () => {
    const world = new World();
    world.start();
    for (let waitedMs = 0; world.asked.length === 0 && waitedMs < 10_000; waitedMs += 100) await world.clock.advance(100);
    await world.clock.advance(29_800);
    expect(world.failures).toEqual([]);
    await world.clock.advance(300);
    expect(world.failures).toMatchObject([{ message: "the coordinator did not answer within 30 s" }]);
    await world.stop();
  });

  it("gives up after two minutes without a session, having tried more than the polls would; then retries on its own", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(10_000);
    world.isCoordinatorUp = false;
    world.sessions[0]!.break();
    await world.clock.advance(105_000);
    expect(world.failures).toEqual([]);
    await world.clock.advance(10_000);
    expect(world.failures).toMatchObject([{ reason: "JoinCredentialUnavailable", message: expect.stringMatching(/could not be reached/) }]);
    world.isCoordinatorUp = true;
    for (let waitedMs = 0; world.asked.length < 2 && waitedMs < 60_000; waitedMs += 1_000) await world.clock.advance(1_000);
    world.asked[1]!.answer({ bootstrapToken: TOKEN });
    await world.clock.advance(100);
    expect(world.tokens).toEqual([TOKEN]);
    await world.stop();
  });

  it("opens a session of its own when none is open", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(10_000);
    world.asked[0]!.answer({ bootstrapToken: TOKEN });
    await world.clock.advance(5_000);
    expect(world.sessions.map(({ isOver }) => isOver)).toEqual([true]);
    const again = world.credentials!.bootstrapToken({ cluster: "prod", generation: 1 }, new AbortController().signal);
    await world.clock.advance(10);
    expect(world.sessions).toHaveLength(2);
    world.asked[1]!.answer({ bootstrapToken: TOKEN });
    await world.clock.advance(1_000);
    expect(String(await again)).toBe("[redacted]");
    expect(world.sessions.map(({ isOver }) => isOver)).toEqual([true, true]);
    await world.stop();
  });
});

describe("questions at once", () => {
  class Line {
    readonly asked: JoinCredentialRequest[] = [];
    settledCount = 0;
    ask = async (request: JoinCredentialRequest): Promise<void> => void this.asked.push(request);
    settled = (): void => void (this.settledCount += 1);
    answer(at: number, bootstrapToken: string) {
      return { requestId: this.asked[at]!.requestId, bootstrapToken, expiresAtMs: 0, reason: "", message: "" };
    }
  }
  const open = () => {
    const clock = new VirtualClock();
    const credentials = new JoinCredentials(clock, seededRandom(3));
    const line = new Line();
    credentials.attach(line);
    return { clock, credentials, line };
  };

  it("share one token when they are the same, and wait for each other when not", async () => {
    const { credentials, line } = open();
    const { signal } = new AbortController();
    const answers = [WANTED, WANTED, { ...WANTED, cluster: "other" }].map((wanted) => credentials.bootstrapToken(wanted, signal));
    expect(line.asked.map(({ cluster }) => cluster)).toEqual(["prod"]);
    credentials.take(line.answer(0, TOKEN));
    expect(line.asked.map(({ cluster }) => cluster)).toEqual(["prod", "other"]);
    expect(line.settledCount).toBe(0);
    credentials.take(line.answer(1, "ffffff.0123456789abcdef"));
    const tokens = await Promise.all(answers);
    expect(tokens.map((token) => token.reveal())).toEqual([TOKEN, TOKEN, "ffffff.0123456789abcdef"]);
    expect([line.settledCount, credentials.isAwaited]).toEqual([1, false]);
  });

  it("are dropped with who asked them, and leave the others", async () => {
    const { credentials, line } = open();
    const [first, second] = [new AbortController(), new AbortController()];
    const aborted = credentials.bootstrapToken(WANTED, first.signal);
    const kept = credentials.bootstrapToken(WANTED, second.signal);
    first.abort(new Error("stopped"));
    await expect(aborted).rejects.toThrow("stopped");
    expect(credentials.isAwaited).toBe(true);
    second.abort(new Error("stopped too"));
    await expect(kept).rejects.toThrow("stopped too");
    expect([credentials.isAwaited, line.settledCount]).toEqual([false, 1]);
    // Nobody waits: the answer goes nowhere, and the next question is a new one.
    credentials.take(line.answer(0, TOKEN));
    const later = credentials.bootstrapToken(WANTED, new AbortController().signal);
    expect(line.asked).toHaveLength(2);
    credentials.take(line.answer(1, TOKEN));
    expect((await later).reveal()).toBe(TOKEN);
  });

  it("is not asked at all when it was stopped before", async () => {
    const { credentials, line } = open();
    await expect(credentials.bootstrapToken(WANTED, AbortSignal.abort(new Error("stopped")))).rejects.toThrow("stopped");
    expect([credentials.isAwaited, line.asked]).toEqual([false, []]);
  });
});
