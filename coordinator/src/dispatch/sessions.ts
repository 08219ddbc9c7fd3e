/**
 * Conversations with nodes: who is here, what each is told next, and who answers which request. Holds nothing for a node without a session.
 * What is desired is the rollout's decision; the authoritative record of what happened is the report stream.
 */
import { type Clock, DeadlineExceeded, type Log, type Random, withDeadline } from "@drover/lifecycle";
import type {
  Budget,
  ConfirmRequest,
  ConverseRequest,
  ConverseResponse,
  DryRunResult,
  Hello,
  JoinCredentialRequest,
  Progress,
  RunRung,
  RungResult,
  SignedPlan,
} from "@drover/proto";
import type { Bus } from "../bus/bus.ts";
import type { Clusters } from "../cluster/clusters.ts";
import type { DesiredNode } from "../records.ts";
import { Refused, refuse } from "../refusal.ts";
import { OUTBOX_EPOCH_BYTES } from "../reportlog/report-count.ts";
import { NodeMap, NodeNumbers } from "../resources/node-map.ts";
import { Channel } from "./channel.ts";
import { isRequestId, JoinRequests } from "./join-requests.ts";
import { isOlder } from "./planned-steps.ts";
import { Session } from "./session.ts";

const HELLO_DEADLINE_MS = 10_000;
const REQUEST_DEADLINE_MS = 30_000;
/** A rung may pull images of many gigabytes. */
const RUNG_DEADLINE_MS = 20 * 60_000;
const WAKE_AGAIN_MS = 3_000;
const PROGRESS_CAPACITY = 1_000;
/** More than there are versions of agents; beyond that somebody invents kinds. */
const MAX_KIND_LISTS = 100;

export interface SessionsParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly bus: Bus;
  /** Shared with others that hold something for each node. */
  readonly numbers?: NodeNumbers;
  readonly desired: (nodeId: string) => DesiredNode | undefined;
  /** How far the node's outbox was taken; epoch in hex. */
  readonly takenOf: (nodeId: string, outboxEpoch: string) => number;
  /** What is granted to the node's shard now; left out: it hears it on the bus. */
  readonly budgetOf?: ((nodeId: string) => Budget) | undefined;
  /** Mints what a node joins its cluster with; undefined where there are no clusters. */
  readonly joinCredential?: Clusters["joinCredential"] | undefined;
  /** What the node applied may stay: asked for what is still desired of it only. Left out: it always may. */
  readonly mayConfirm?: ((nodeId: string, desired: DesiredNode) => boolean) | undefined;
  readonly events: SessionEvents;
}

/** What sessions notice that others must act on. */
export interface SessionEvents {
  /** A node knows a higher pair than we do. */
  knowsMore(nodeId: string, seen: { readonly planEpoch: number; readonly generation: number }): void;
  /** As its Hello said; left out: nobody wants to know. */
  knowsNoMore?(nodeId: string): void;
  /** Two live sessions with different processes; the older one is kept. */
  cloneSuspected(nodeId: string, message: string): void;
  /** Step kinds, a clone alarm or presence changed. @param areKindsNew of step kinds something else is known than before */
  changed(nodeId: string, areKindsNew: boolean): void;
}

export interface NodeProgress {
  readonly nodeId: string;
  readonly progress: Progress;
  readonly atMs: number;
}

export class Sessions {
  readonly #parts: SessionsParts;
  readonly #live = new Map<string, Session>();
  readonly #stepKinds: NodeMap<readonly string[]>;
  readonly #kinds = new Map<string, readonly string[]>();
  readonly #clones = new Map<string, { readonly message: string; readonly atMs: number }>();
  readonly #watchers = new Set<Channel<NodeProgress>>();
  readonly #arrivals = new Map<string, Set<(session: Session) => void>>();
  readonly #joinRequests: JoinRequests;
  #isStopping = false;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    const { clock, log, joinCredential, numbers = new NodeNumbers() } = parts;
    this.#stepKinds = new NodeMap(numbers);
    this.#joinRequests = new JoinRequests({ clock, log, mint: joinCredential });
  }

  get liveCount(): number {
    return this.#live.size;
  }

  isLive(nodeId: string): boolean {
    return this.#live.has(nodeId);
  }

  /** As the node's last Hello said; undefined: it has not spoken since the coordinator started. */
  stepKinds(nodeId: string): readonly string[] | undefined {
    return this.#stepKinds.get(nodeId);
  }

  /** undefined: no clone suspected. */
  cloneAlarm(nodeId: string): { readonly message: string; readonly atMs: number } | undefined {
    return this.#clones.get(nodeId);
  }

  /**
   * One node's conversation, from Hello to the end.
   * @throws Refused when the node breaks the protocol or somebody else holds its session
   */
  async *converse(nodeId: string, inbound: AsyncIterable<ConverseRequest>, signal: AbortSignal): AsyncGenerator<ConverseResponse, void> {
    if (this.#isStopping) throw new Refused(refuse("Stopping", "the coordinator is stopping; come back in a moment"));
    const requests = inbound[Symbol.asyncIterator]();
    let session: Session | undefined;
    try {
      const hello = await this.#hello(requests, signal);
      const kindsBefore = this.#stepKinds.get(nodeId);
      session = this.#admit(nodeId, hello);
      this.#greet(session, this.#stepKinds.get(nodeId) !== kindsBefore);
      void this.#hear(session, requests, signal);
      yield* session.outbound;
    } finally {
      if (session !== undefined) this.#leave(session);
      // Not awaited: the transport's iterator may answer only when the transport closes, which waits for us.
      void Promise.resolve(requests.return?.(undefined)).catch(() => undefined);
    }
  }

  /** Something new was decided for the node: tell it at once when it is here. @returns whether it is */
  tell(nodeId: string): boolean {
    const session = this.#live.get(nodeId);
    if (session === undefined) return false;
    this.#instruct(session);
    return true;
  }

  /** Ends the node's session now, for example because it was revoked. */
  cut(nodeId: string, refusal: Refused): void {
    this.#live.get(nodeId)?.outbound.fail(refusal);
  }

  /** Ends all sessions; those who come are told to come back later. */
  stop(): void {
    this.#isStopping = true;
    for (const session of this.#live.values()) {
      session.outbound.fail(new Refused(refuse("Stopping", "the coordinator is stopping; come back in a moment")));
    }
    for (const watcher of this.#watchers) watcher.close();
  }

  /** Live progress of all nodes until the signal aborts. @throws ChannelOverflow when the reader is too slow */
  async *watchProgress(signal: AbortSignal): AsyncGenerator<NodeProgress, void> {
    const channel = new Channel<NodeProgress>(PROGRESS_CAPACITY);
    const onAbort = (): void => channel.close();
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) channel.close();
    this.#watchers.add(channel);
    try {
      yield* channel;
    } finally {
      this.#watchers.delete(channel);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** A step's output as the node holds it, in chunks. @throws Refused Unreachable, TimedOut, NotFound */
  async *collectLogs(
    nodeId: string,
    wanted: { readonly step: string; readonly maxBytes: number },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void> {
    const session = await this.#reach(nodeId, signal);
    const requestId = this.#parts.random.bytes(8).toString("hex");
    const chunks = session.expectLogs(requestId);
    try {
      session.send({ $case: "collectLogs", value: { requestId, step: wanted.step, offset: 0, maxBytes: wanted.maxBytes } });
      const iterator = chunks[Symbol.asyncIterator]();
      for (;;) {
        const next = await this.#inTime("the node's logs", signal, () => iterator.next());
        if (next.done === true) return;
        const { chunk, last, reason } = next.value;
        if (reason !== "") throw new Refused(refuse("NotFound", `the node has no such output (${reason})`));
        if (chunk.length > 0) yield chunk;
        if (last) return;
      }
    } finally {
      session.forget(requestId);
    }
  }

  /** What a plan would change on the node. @throws Refused Unreachable, TimedOut */
  async dryRun(nodeId: string, signedPlan: SignedPlan, signal: AbortSignal): Promise<DryRunResult> {
    const session = await this.#reach(nodeId, signal);
    const requestId = this.#parts.random.bytes(8).toString("hex");
    const answer = session.expectDryRun(requestId);
    try {
      session.send({ $case: "dryRun", value: { requestId, signedPlan } });
      return await this.#inTime("the node's dry run", signal, () => answer);
    } finally {
      session.forget(requestId);
    }
  }

  /** One rung of a repair: the node does the same request once, and answers each asking with what came of it. @throws Refused Unreachable, TimedOut */
  async runRung(nodeId: string, request: RunRung, signal: AbortSignal): Promise<RungResult> {
    const session = await this.#reach(nodeId, signal);
    const answer = session.expectRung(request.requestId);
    try {
      session.send({ $case: "runRung", value: request });
      return await this.#inTime("the node's rung", signal, () => answer, RUNG_DEADLINE_MS);
    } finally {
      session.forget(request.requestId);
    }
  }

  /** Evidence of the node as a gzipped tar archive, in chunks. @throws Refused Unreachable, TimedOut, NotFound */
  async *collectEvidence(
    nodeId: string,
    wanted: { readonly requestId: string; readonly maxBytes: number },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void> {
    const session = await this.#reach(nodeId, signal);
    const chunks = session.expectEvidence(wanted.requestId);
    try {
      session.send({ $case: "collectEvidence", value: { ...wanted } });
      const iterator = chunks[Symbol.asyncIterator]();
      for (;;) {
        const next = await this.#inTime("the node's evidence", signal, () => iterator.next());
        if (next.done === true) return;
        const { chunk, last, reason } = next.value;
        if (reason !== "") throw new Refused(refuse("NotFound", `the node has no evidence to give (${reason})`));
        if (chunk.length > 0) yield chunk;
        if (last) return;
      }
    } finally {
      session.forget(wanted.requestId);
    }
  }

  async #hello(requests: AsyncIterator<ConverseRequest>, signal: AbortSignal): Promise<Hello> {
    const first = await this.#inTime("the node's hello", signal, () => requests.next(), HELLO_DEADLINE_MS);
    const body = first.done === true ? undefined : first.value.body;
    if (body?.$case !== "hello") throw new Refused(refuse("HelloExpected", "a conversation begins with Hello"));
    if (body.value.processId.length !== 16) throw new Refused(refuse("HelloExpected", "Hello.process_id must be 16 bytes"));
    return body.value;
  }

  #admit(nodeId: string, hello: Hello): Session {
    const { clock, events } = this.#parts;
    const older = this.#live.get(nodeId);
    if (older !== undefined && !older.hello.processId.equals(hello.processId)) {
      const message = `a second agent process (boot ${hello.bootId}) speaks as this node while the first (boot ${older.hello.bootId}) has its session open`;
      this.#clones.set(nodeId, { message, atMs: clock.now() });
      events.cloneSuspected(nodeId, message);
      events.changed(nodeId, false);
      throw new Refused(refuse("CloneSuspected", `${message}; the first keeps the identity`));
    }
    // The same process came back before we noticed that its connection was gone.
    older?.outbound.close();
    const session = new Session(nodeId, hello, clock);
    this.#live.set(nodeId, session);
    this.#clones.delete(nodeId);
    this.#stepKinds.set(nodeId, this.#sharedKinds(hello.stepKinds));
    return session;
  }

  /** One and the same list for all agents that can do the same. */
  #sharedKinds(stepKinds: readonly string[]): readonly string[] {
    const text = JSON.stringify(stepKinds);
    const shared = this.#kinds.get(text);
    if (shared !== undefined) return shared;
    if (this.#kinds.size >= MAX_KIND_LISTS) this.#kinds.clear();
    this.#kinds.set(text, stepKinds);
    return stepKinds;
  }

  #greet(session: Session, areKindsNew: boolean): void {
    const { budgetOf, bus, clock, desired, events, takenOf } = this.#parts;
    session.send({ $case: "welcome", value: { nowMs: clock.now(), budget: budgetOf?.(session.nodeId) } });
    // An idle node would never learn from its reports that we have lost what we acknowledged.
    const { outboxEpoch } = session.hello;
    if (outboxEpoch.length === OUTBOX_EPOCH_BYTES) {
      bus.acknowledge(session.nodeId, { outboxEpoch, seq: takenOf(session.nodeId, outboxEpoch.toString("hex")) });
    }
    const known = desired(session.nodeId) ?? { planEpoch: 0, generation: 0 };
    if (isOlder(known, session.accepted)) events.knowsMore(session.nodeId, session.accepted);
    else {
      events.knowsNoMore?.(session.nodeId);
      this.#instruct(session);
    }
    events.changed(session.nodeId, areKindsNew);
    const waiting = [...(this.#arrivals.get(session.nodeId) ?? [])];
    session.expectRequests(waiting.length);
    for (const arrived of waiting) arrived(session);
  }

  #instruct(session: Session): void {
    const desired = this.#parts.desired(session.nodeId);
    if (desired !== undefined) session.offer(desired);
  }

  async #hear(session: Session, requests: AsyncIterator<ConverseRequest>, signal: AbortSignal): Promise<void> {
    const stopWatching = session.closeWhenSilent();
    const onAbort = (): void => session.outbound.close();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      while (!session.outbound.isClosed) {
        const next = await requests.next();
        if (next.done === true) break;
        this.#take(session, next.value);
      }
    } catch (error) {
      if (error instanceof Refused) session.outbound.fail(error);
      // Else the transport broke, and the node comes back on its own.
      this.#parts.log.debug({ node: session.nodeId, error: (error as Error).message }, "session broke");
    } finally {
      stopWatching();
      signal.removeEventListener("abort", onAbort);
      session.outbound.close();
    }
  }

  #take(session: Session, { body }: ConverseRequest): void {
    session.heard();
    switch (body?.$case) {
      case "progress": {
        const progress = { nodeId: session.nodeId, progress: body.value, atMs: this.#parts.clock.now() };
        for (const watcher of this.#watchers) watcher.push(progress);
        return;
      }
      case "planAnswer":
        if (!body.value.accepted) {
          const { generation, reason, message } = body.value;
          this.#parts.log.warn({ node: session.nodeId, generation, reason, message }, "node refused its plan");
        }
        session.answered(body.value);
        return;
      case "logChunk":
        session.tookLogs(body.value);
        return;
      case "rungResult":
        session.tookRung(body.value);
        return;
      case "evidenceChunk":
        session.tookEvidence(body.value);
        return;
      case "dryRunResult":
        session.tookDryRun(body.value);
        return;
      case "idle":
        this.#instruct(session);
        if (!session.isBusy) session.outbound.close();
        return;
      case "hello":
        throw new Refused(refuse("HelloExpected", "Hello is said once"));
      case "joinCredentialRequest":
        if (!isRequestId(body.value.requestId)) throw new Refused(refuse("InvalidRequest", "request_id must have 1 to 64 characters"));
        void this.#giveJoinCredential(session, body.value);
        return;
      case "confirmRequest":
        return this.#confirm(session, body.value);
      case undefined:
        // A newer agent says something this coordinator does not know: ignored, as everywhere but in plans.
        return;
    }
  }

  /** I4: what was aborted is undone at once. A node that gets no answer asks again, and undoes what it did at its deadline. */
  #confirm(session: Session, { planEpoch, generation }: ConfirmRequest): void {
    const { desired, mayConfirm, log } = this.#parts;
    const wanted = desired(session.nodeId);
    const isDesired = wanted !== undefined && wanted.planEpoch === planEpoch && wanted.generation === generation;
    const mayStay = isDesired && mayConfirm?.(session.nodeId, wanted) !== false;
    if (isDesired) session.send({ $case: mayStay ? "confirmPlan" : "cancelPlan", value: { planEpoch, generation } });
    if (!mayStay) log.warn({ node: session.nodeId, planEpoch, generation, isDesired }, "not confirmed: the node is to undo it");
  }

  async #giveJoinCredential(session: Session, request: JoinCredentialRequest): Promise<void> {
    const done = session.beginAnswer();
    try {
      session.send({ $case: "joinCredential", value: await this.#joinRequests.answer(session.nodeId, request, session.over) });
    } finally {
      done();
    }
  }

  #leave(session: Session): void {
    session.end();
    if (this.#live.get(session.nodeId) === session) this.#live.delete(session.nodeId);
    this.#parts.events.changed(session.nodeId, false);
  }

  /** The node's session; wakes the node until it opens one. */
  async #reach(nodeId: string, signal: AbortSignal): Promise<Session> {
    const { bus, clock, desired } = this.#parts;
    const live = this.#live.get(nodeId);
    if (live !== undefined && !live.outbound.isClosed) return live;
    const wake = (): void => bus.wake(nodeId, { generation: desired(nodeId)?.generation ?? 0, delayMs: 0, sessionWanted: true });
    let cancel: () => void = () => undefined;
    const again = (): void => {
      wake();
      cancel = clock.setTimer(WAKE_AGAIN_MS, again);
    };
    const arrivals = this.#arrivals.get(nodeId) ?? new Set();
    this.#arrivals.set(nodeId, arrivals);
    let arrived: (session: Session) => void = () => undefined;
    const arrival = new Promise<Session>((resolve) => arrivals.add((arrived = resolve)));
    again();
    try {
      return await this.#inTime("the node's session", signal, () => arrival);
    } catch (error) {
      if (error instanceof Refused) throw new Refused(refuse("Unreachable", "the node did not open a session when it was woken"));
      throw error;
    } finally {
      cancel();
      arrivals.delete(arrived);
      if (arrivals.size === 0) this.#arrivals.delete(nodeId);
    }
  }

  async #inTime<T>(what: string, signal: AbortSignal, work: () => Promise<T>, ms = REQUEST_DEADLINE_MS): Promise<T> {
    try {
      return await withDeadline(this.#parts.clock, what, ms, signal, work);
    } catch (error) {
      if (error instanceof DeadlineExceeded) throw new Refused(refuse("TimedOut", error.message));
      throw error;
    }
  }
}
