/** One agent: its parts put together. What starts it (configuration, identity, sockets) is main.ts's. */
import { type Clock, type Log, type Random, runGroup } from "@drover/lifecycle";
import { type Budget, type Facts, Hello, type StepKind, ToNode, type Welcome } from "@drover/proto";
import { gatherEvidence } from "./evidence/gather-evidence.ts";
import type { Host } from "./host/host.ts";
import type { AgentBus, Sessions, StateDirectory } from "./ports.ts";
import { LiveConversation } from "./reconcile/conversation.ts";
import { type ConversationIntervals, ConversationLoop } from "./reconcile/conversation-loop.ts";
import { Bell } from "./reconcile/bell.ts";
import { Engine } from "./reconcile/engine.ts";
import { defaultStepDeadlineMs, type StepTable } from "./reconcile/engine-parts.ts";
import { eventOf } from "./reconcile/events.ts";
import { type Failpoint, noFailpoint } from "./reconcile/failpoints.ts";
import { ImageInventoryTeller } from "./reconcile/image-inventory.ts";
import { Journal } from "./reconcile/journal.ts";
import { JoinCredentials } from "./reconcile/join-credentials.ts";
import { isUnfinished, type PlanEnding } from "./reconcile/journal-state.ts";
import { ProgressThrottle } from "./reconcile/progress-throttle.ts";
import { type ReconcileIntervals, ReconcileLoop } from "./reconcile/reconcile-loop.ts";
import { PollNeed } from "./reconcile/poll-need.ts";
import { Rungs } from "./reconcile/rungs.ts";
import { Turns } from "./reconcile/turns.ts";
import { type BeatContent, beatFlags, Heartbeats } from "./report/heartbeats.ts";
import { Outbox } from "./report/outbox.ts";
import { OutputRing } from "./report/output-ring.ts";
import { countStart, factsAreNews, rememberFacts } from "./report/starts.ts";

export interface AgentIntervals extends ReconcileIntervals, ConversationIntervals {
  readonly stepDeadlineMs: Readonly<Record<StepKind, number>>;
}

export const defaultIntervals: AgentIntervals = {
  driftScanMs: 600_000,
  retryBaseMs: 10_000,
  retryMaxMs: 600_000,
  firstSessionMs: 5_000,
  pollMs: 600_000,
  pollWithoutBusMs: 60_000,
  reopenBaseMs: 5_000,
  stepDeadlineMs: defaultStepDeadlineMs,
};

export interface AgentParts {
  readonly nodeId: string;
  readonly agentVersion: string;
  readonly host: Host;
  readonly steps: StepTable;
  readonly state: StateDirectory;
  /** The agent runs it. */
  readonly bus: AgentBus;
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly intervals?: Partial<AgentIntervals>;
  readonly facts: () => Promise<Facts>;
  /** Default: does nothing. */
  readonly failpoint?: Failpoint;
  /** 16 random bytes, new with each process. */
  readonly processId: Buffer;
  /** Default 64 MiB. */
  readonly maxOutboxBytes?: number;
}

export interface AgentStatus {
  readonly nodeId: string;
  readonly agentVersion: string;
  readonly bootId: string;
  readonly accepted: { readonly planEpoch: number; readonly generation: number } | undefined;
  readonly enforced: { readonly planEpoch: number; readonly generation: number } | undefined;
  readonly rejectedGeneration: number;
  readonly isApplying: boolean;
  /** Of the accepted plan; undefined: none yet. */
  readonly ending: PlanEnding | undefined;
  readonly driftedSteps: readonly string[];
  readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }[];
  readonly isBusConnected: boolean;
  readonly isSessionOpen: boolean;
  readonly failedSessionTries: number;
  readonly unacknowledgedBatches: number;
  /** Coordinator's clock minus ours at the last Welcome, in ms; undefined: not greeted yet. */
  readonly clockOffsetMs: number | undefined;
}

export interface Agent {
  /** Until the signal aborts. @throws when durable state fails or is damaged: exit and start again */
  run(signal: AbortSignal): Promise<void>;
  /** undefined until run has opened its state. */
  status(): AgentStatus | undefined;
  /** The exact bytes of the plan that is enforced. */
  enforcedPlan(): Buffer | undefined;
}

/** They change with a boot or another agent only; a lost report of them is told of. */
const FACTS_AGAIN_MS = 86_400_000;

export function createAgent(parts: AgentParts): Agent {
  let running: RunningAgent | undefined;
  return {
    async run(signal) {
      running = await RunningAgent.open(parts);
      await running.run(signal);
    },
    status: () => running?.status(),
    enforcedPlan: () => running?.enforcedPlan(),
  };
}

class RunningAgent {
  readonly #parts: AgentParts;
  readonly #engine: Engine;
  readonly #outbox: Outbox;
  readonly #heartbeats: Heartbeats;
  readonly #reconcile: ReconcileLoop;
  readonly #conversations: ConversationLoop;
  readonly #pollNeed: PollNeed;
  readonly #bootId: string;
  readonly #startCount: number;
  readonly #images: ImageInventoryTeller;
  readonly #factsBell: Bell;
  readonly #rungs: Rungs;
  #refusedGeneration = 0;
  #clockOffsetMs: number | undefined;

  private constructor(parts: AgentParts, opened: Awaited<ReturnType<typeof openState>>) {
    const { clock, random, bus, log, sessions, nodeId } = parts;
    const intervals = { ...defaultIntervals, ...parts.intervals };
    this.#parts = parts;
    this.#engine = opened.engine;
    this.#outbox = opened.outbox;
    this.#bootId = opened.bootId;
    this.#startCount = opened.startCount;
    this.#heartbeats = new Heartbeats({ nodeId, bus, clock }, () => this.#beatContent());
    this.#images = opened.images;
    this.#factsBell = opened.factsBell;
    this.#rungs = opened.rungs;
    const onPass = async (stop: AbortSignal): Promise<void> => {
      this.#heartbeats.generationMayHaveChanged();
      const images = await this.#images.news(stop);
      if (images !== undefined) this.#note({ $case: "images", value: { images: [...images] } });
    };
    this.#reconcile = new ReconcileLoop({ engine: opened.engine, turns: opened.turns, clock, random, intervals, onPass });
    const conversation = {
      sessions,
      engine: opened.engine,
      progress: opened.progress,
      credentials: opened.credentials,
      rungs: opened.rungs,
      evidence: (maxBytes: number, signal: AbortSignal) => this.#gatherEvidence(opened.ring, maxBytes, signal),
      clock,
      log: log.child({ component: "session" }),
      hello: async () => this.#hello(),
      readOutput: (step: string, offset: number, maxBytes: number) => opened.ring.read(step, offset, maxBytes),
      wakeReconcile: () => {
        this.#reconcile.wake();
        this.#heartbeats.generationMayHaveChanged();
      },
      refused: (generation: number) => {
        this.#refusedGeneration = generation;
        this.#heartbeats.generationMayHaveChanged();
      },
      greeted: ({ nowMs, budget }: Welcome) => {
        this.#clockOffsetMs = nowMs - Math.floor(clock.now());
        this.#pollNeed.greeted(budget);
        if (budget !== undefined) this.#takeBudget(budget);
      },
    };
    this.#pollNeed = new PollNeed(clock);
    this.#conversations = new ConversationLoop({
      hold: (signal) => LiveConversation.hold(conversation, signal),
      knows: (generation) => generation === this.#observedGeneration,
      isBusConnected: () => bus.isConnected,
      // What was refused may be accepted another time: it is offered in each session.
      isPollSpared: () => this.#refusedGeneration === 0 && !this.#outbox.isInDoubt && this.#pollNeed.isSpared,
      isSessionWanted: () => opened.credentials.isAwaited || opened.engine.unconfirmed !== undefined,
      clock,
      random,
      log: conversation.log,
      intervals,
    });
    opened.credentials.onSessionWanted(() => this.#conversations.want());
    opened.engine.onEnded(() => {
      if (opened.engine.unconfirmed !== undefined) this.#conversations.want();
    });
    bus.onToNode((message) => this.#takeFromCoordinator(message));
    bus.onBudget((budget) => {
      this.#pollNeed.heard(budget);
      this.#takeBudget(budget);
    });
    bus.onConnected(() => this.#outbox.takeConnected());
  }

  static async open(parts: AgentParts): Promise<RunningAgent> {
    return new RunningAgent(parts, await openState(parts));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { agentVersion, bus, log } = this.#parts;
    // Stopped while its state was read: what was noted now would keep the process alive, and nobody would send it.
    if (signal.aborted) return;
    log.info({ startCount: this.#startCount, accepted: pairOf(this.#engine.journal.accepted) }, "agent started");
    this.#note({ $case: "agentStarted", value: { agentVersion, bootId: this.#bootId, startCount: this.#startCount } });
    this.#engine.tellAll();
    // Stopped from the last to the first: no more instructions, finish the step, flush the outbox, drain NATS.
    await runGroup(
      [
        { name: "bus", run: (stop) => bus.run(stop) },
        { name: "heartbeats", run: (stop) => this.#heartbeats.run(stop) },
        { name: "outbox", run: (stop) => this.#outbox.run(stop) },
        { name: "facts", run: (stop) => this.#tellFacts(stop) },
        { name: "rungs", run: (stop) => this.#rungs.run(stop) },
        { name: "reconcile", run: (stop) => this.#reconcile.run(stop) },
        { name: "conversations", run: (stop) => this.#conversations.run(stop) },
      ],
      signal,
    );
  }

  status(): AgentStatus {
    const { nodeId, agentVersion, bus } = this.#parts;
    const { accepted, enforced, rejectedGeneration } = this.#engine.journal;
    return {
      nodeId,
      agentVersion,
      bootId: this.#bootId,
      accepted: pairOf(accepted),
      enforced: pairOf(enforced),
      rejectedGeneration,
      isApplying: this.#engine.isApplying,
      ending: accepted?.ending,
      driftedSteps: this.#engine.driftedSteps,
      conditions: this.#engine.conditions.map(({ type, status, reason, message }) => ({ type, status, reason, message })),
      isBusConnected: bus.isConnected,
      isSessionOpen: this.#conversations.isOpen,
      failedSessionTries: this.#conversations.failedTries,
      unacknowledgedBatches: this.#outbox.unacknowledged,
      clockOffsetMs: this.#clockOffsetMs,
    };
  }

  enforcedPlan(): Buffer | undefined {
    const { enforced } = this.#engine.journal;
    return enforced && Buffer.from(enforced.plan, "base64");
  }

  get #observedGeneration(): number {
    return Math.max(this.#engine.journal.accepted?.generation ?? 0, this.#refusedGeneration);
  }

  #takeBudget(budget: Budget): void {
    this.#outbox.takeBudget(budget);
    this.#heartbeats.takeBudget(budget);
  }

  #takeFromCoordinator({ body }: ToNode): void {
    if (body?.$case === "ack") this.#outbox.takeAck(body.value);
    else if (body?.$case === "wake") this.#conversations.wake(body.value);
  }

  async #tellFacts(signal: AbortSignal): Promise<void> {
    const { facts, state, log, agentVersion } = this.#parts;
    for (let areNews = await factsAreNews(state, this.#bootId, agentVersion); !signal.aborted; ) {
      try {
        if (areNews) {
          const event = this.#event({ $case: "facts", value: await facts() });
          await this.#outbox.record([event]);
          await rememberFacts(state, this.#bootId, agentVersion);
        }
      } catch (error) {
        if ((error as { isFatal?: unknown }).isFatal === true) throw error;
        log.error({ err: error }, "facts could not be collected");
      }
      areNews = await this.#factsBell.wait(FACTS_AGAIN_MS, signal);
    }
  }

  #hello(): Hello {
    const { accepted, enforced, rejectedGeneration } = this.#engine.journal;
    this.#outbox.expectAck();
    return Hello.fromPartial({
      agentVersion: this.#parts.agentVersion,
      bootId: this.#bootId,
      acceptedEpoch: accepted?.planEpoch ?? 0,
      acceptedGeneration: accepted?.generation ?? 0,
      enforcedEpoch: enforced?.planEpoch ?? 0,
      enforcedGeneration: enforced?.generation ?? 0,
      rejectedGeneration,
      stepKinds: [...this.#engine.stepKinds],
      outboxEpoch: this.#outbox.epoch,
      processId: this.#parts.processId,
    });
  }

  #gatherEvidence(ring: OutputRing, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
    const { nodeId, agentVersion, host, clock } = this.#parts;
    const source = {
      host,
      clock,
      about: { nodeId, agentVersion, bootId: this.#bootId, startCount: this.#startCount },
      conditions: this.#engine.conditions,
      journal: this.#engine.journal,
      enforcedPlan: this.enforcedPlan(),
      dryRun: (plan: Uint8Array, ended: AbortSignal) => this.#engine.dryRun(plan, ended),
      readOutput: (step: string) => ring.read(step, 0, Infinity)?.bytes,
    };
    return gatherEvidence(source, maxBytes, signal);
  }

  #beatContent(): BeatContent {
    const { accepted, enforced } = this.#engine.journal;
    const { conditions, driftedSteps, isApplying } = this.#engine;
    const isWorking = isApplying || (isUnfinished(accepted) && accepted.ending === undefined);
    const isInSync = accepted?.ending?.outcome === "enforced" && driftedSteps.length === 0 && !isWorking;
    const flags =
      (isInSync ? beatFlags.inSync : 0) |
      (isWorking ? beatFlags.applying : 0) |
      (accepted?.ending !== undefined && accepted.ending.outcome !== "enforced" ? beatFlags.failed : 0) |
      (driftedSteps.length > 0 ? beatFlags.drifted : 0) |
      (this.#outbox.isPressed ? beatFlags.outboxPressed : 0);
    const told = conditions.map(({ type, status, reason }) => `${type} ${status} ${reason}`);
    const stateText = [`${enforced?.planEpoch ?? 0} ${enforced?.generation ?? 0}`, ...told].join("\n");
    return { observedGeneration: this.#observedGeneration, stateText, flags };
  }

  #note(body: Parameters<typeof eventOf>[2]): void {
    this.#outbox.note([this.#event(body)]);
  }

  #event(body: Parameters<typeof eventOf>[2]): ReturnType<typeof eventOf> {
    return eventOf(this.#parts.clock.now(), this.#engine.journal.accepted, body);
  }
}

async function openState(parts: AgentParts) {
  const { nodeId, host, steps, state, clock, random, log, bus, intervals } = parts;
  const failpoint = parts.failpoint ?? noFailpoint;
  const journal = await Journal.open(state, failpoint);
  const ring = await OutputRing.open(state);
  const progress = new ProgressThrottle(clock);
  const factsBell = new Bell(clock);
  let tellAll = (): void => undefined;
  let tellLost = (): void => undefined;
  const outbox = await Outbox.open({
    nodeId,
    state,
    bus,
    clock,
    random,
    log: log.child({ component: "outbox" }),
    onRoomAgain: () => tellAll(),
    onLost: () => tellLost(),
    ...(parts.maxOutboxBytes === undefined ? {} : { maxBytes: parts.maxOutboxBytes }),
  });
  const credentials = new JoinCredentials(clock, random);
  const engine = await Engine.open({
    nodeId,
    host,
    steps,
    state,
    journal,
    reporter: outbox,
    output: ring,
    showProgress: (each) => progress.take(each),
    credentials,
    clock,
    log: log.child({ component: "reconcile" }),
    failpoint,
    stepDeadlineMs: { ...defaultStepDeadlineMs, ...intervals?.stepDeadlineMs },
  });
  const turns = new Turns(clock);
  const rungs = await Rungs.open({
    host,
    clock,
    state,
    turns,
    journal: () => engine.journal,
    imagesStep: steps.images,
    output: ring,
    showProgress: (each) => progress.take(each),
    isInChange: () => isInChange(engine),
    log: log.child({ component: "rungs" }),
  });
  const images = new ImageInventoryTeller(host, clock);
  tellAll = () => {
    engine.tellAll();
    images.forget();
  };
  tellLost = () => {
    engine.tellLost();
    images.forget();
    factsBell.ring();
  };
  return {
    engine,
    outbox,
    ring,
    progress,
    credentials,
    images,
    factsBell,
    turns,
    rungs,
    startCount: await countStart(state),
    bootId: host.isLive ? await host.kernel.bootId() : "",
  };
}

/** A plan is applied, waits for its first try or a confirmation, or may have to be undone; one that failed and waits is not in change. */
async function isInChange(engine: Engine): Promise<boolean> {
  const { accepted } = engine.journal;
  const isUnended = isUnfinished(accepted) && accepted.ending === undefined;
  return engine.isApplying || isUnended || (await engine.msUntilUndo()) !== undefined;
}

function pairOf(plan: { readonly planEpoch: number; readonly generation: number } | undefined) {
  return plan && { planEpoch: plan.planEpoch, generation: plan.generation };
}
