/** One session with the coordinator: Hello, instructions as they come, Idle when there is nothing more to do. */
import { type Clock, DeadlineExceeded, type Log, withDeadline } from "@drover/lifecycle";
import type {
  CollectEvidence,
  CollectLogs,
  ConverseRequest,
  ConverseResponse,
  Hello,
  JoinCredentialRequest,
  Progress,
  RunRung,
  Welcome,
} from "@drover/proto";
import type { Conversation, Sessions } from "../ports.ts";
import type { Engine } from "./engine.ts";
import { boundedChanges } from "./events.ts";
import type { JoinCredentials } from "./join-credentials.ts";
import { isUnfinished, type Pair } from "./journal-state.ts";
import type { ProgressThrottle } from "./progress-throttle.ts";
import type { Rungs } from "./rungs.ts";

export interface ConversationParts {
  readonly sessions: Sessions;
  readonly engine: Engine;
  readonly hello: () => Promise<Hello>;
  readonly readOutput: (step: string, offset: number, maxBytes: number) => { offset: number; bytes: Buffer; isLast: boolean } | undefined;
  readonly progress: ProgressThrottle;
  readonly credentials: JoinCredentials;
  readonly rungs: Pick<Rungs, "ask">;
  /** A gzipped tar archive of at most that many bytes, without secrets. */
  readonly evidence: (maxBytes: number, signal: AbortSignal) => Promise<Buffer>;
  readonly clock: Clock;
  readonly log: Log;
  /** A plan was accepted or cancelled. */
  readonly wakeReconcile: () => void;
  /** A plan was refused: nothing more is to be done for its generation. */
  readonly refused: (generation: number) => void;
  readonly greeted: (welcome: Welcome) => void;
}

const OPEN_DEADLINE_MS = 30_000;
const SEND_DEADLINE_MS = 30_000;
/** Nothing from the coordinator while we have told it that we are idle. */
const SILENCE_MS = 60_000;
/** Instructions follow each other at once; so long after the last one nothing more is expected. */
const IDLE_AFTER_MS = 200;
const CHUNK_BYTES = 32 * 2 ** 10;
const MAX_COLLECTED_BYTES = 8 * 2 ** 20;
const DRY_RUN_DEADLINE_MS = 120_000;

type Body = NonNullable<ConverseRequest["body"]>;

export class LiveConversation {
  readonly #parts: ConversationParts;
  readonly #stop: AbortController;
  readonly #conversation: Conversation;
  #cancelIdle: (() => void) | undefined;
  #cancelSilence: (() => void) | undefined;
  /** Answers under way; Idle is told only when there are none. */
  #answering = 0;

  private constructor(parts: ConversationParts, conversation: Conversation, stop: AbortController) {
    this.#parts = parts;
    this.#conversation = conversation;
    this.#stop = stop;
  }

  /** From Hello to the end. @throws when the session cannot be opened or breaks */
  static async hold(parts: ConversationParts, signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const onAbort = (): void => stop.abort(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      // I4: only a session that was opened after the last step proves that the node can open one.
      const { unconfirmed } = parts.engine;
      const conversation = await withDeadline(parts.clock, "opening a session", OPEN_DEADLINE_MS, stop.signal, () =>
        parts.sessions.open(stop.signal),
      );
      await new LiveConversation(parts, conversation, stop).#run(unconfirmed);
    } finally {
      signal.removeEventListener("abort", onAbort);
      // A session that was opened after all, too late, ends with this.
      stop.abort(new Error("the session is over"));
    }
  }

  async #run(unconfirmed: Pair | undefined): Promise<void> {
    const { progress, engine, credentials } = this.#parts;
    await this.#send({ $case: "hello", value: await this.#parts.hello() });
    if (unconfirmed !== undefined) await this.#send({ $case: "confirmRequest", value: unconfirmed });
    const detach = progress.attach((each: Progress) => this.#sendQuietly({ $case: "progress", value: each }));
    const unwatch = engine.onEnded(() => this.#idleSoon());
    const hangUp = credentials.attach({ ask: (request) => this.#ask(request), settled: () => this.#idleSoon() });
    try {
      this.#idleSoon();
      const messages = this.#conversation.received()[Symbol.asyncIterator]();
      for (;;) {
        const next = await this.#nextOrAbort(messages);
        if (next.done === true) return;
        this.#cancelSilence?.();
        await this.#take(next.value);
        this.#idleSoon();
      }
    } finally {
      detach();
      unwatch();
      hangUp();
      this.#cancelIdle?.();
      this.#cancelSilence?.();
      this.#conversation.close();
    }
  }

  async #take({ body }: ConverseResponse): Promise<void> {
    const { engine } = this.#parts;
    switch (body?.$case) {
      case "welcome":
        return this.#parts.greeted(body.value);
      case "applyPlan":
        return this.#acceptPlan(body.value.signedPlan?.plan ?? Buffer.alloc(0));
      case "cancelPlan":
        engine.cancel(body.value);
        return this.#parts.wakeReconcile();
      case "collectLogs":
        return this.#whileAnswering(() => this.#sendLogs(body.value));
      case "dryRun": {
        const { requestId, signedPlan } = body.value;
        // Not awaited: a slow registry must not hold up what else is instructed.
        void this.#whileAnswering(() => this.#dryRun(requestId, signedPlan?.plan ?? Buffer.alloc(0))).catch(() => undefined);
        return;
      }
      case "confirmPlan":
        await engine.confirm(body.value);
        return this.#parts.wakeReconcile();
      case "joinCredential":
        return this.#parts.credentials.take(body.value);
      case "runRung": {
        const request = body.value;
        void this.#whileAnswering(() => this.#runRung(request)).catch(() => undefined);
        return;
      }
      case "collectEvidence": {
        const wanted = body.value;
        void this.#whileAnswering(() => this.#sendEvidence(wanted)).catch(() => undefined);
        return;
      }
      case undefined:
        return;
    }
  }

  async #acceptPlan(bytes: Uint8Array): Promise<void> {
    const acceptance = await this.#parts.engine.accept(bytes);
    if (acceptance.outcome === "refused") {
      const { pair, reason, message } = acceptance;
      this.#parts.log.warn({ reason, detail: message, generation: pair?.generation }, "plan refused");
      if (pair !== undefined) this.#parts.refused(pair.generation);
      const { planEpoch, generation } = pair ?? { planEpoch: 0, generation: 0 };
      await this.#send({ $case: "planAnswer", value: { planEpoch, generation, accepted: false, reason, message } });
      return;
    }
    const { planEpoch, generation } = acceptance.plan;
    // The loop is woken whether or not the answer can be sent: accepted is accepted.
    this.#parts.wakeReconcile();
    await this.#send({ $case: "planAnswer", value: { planEpoch, generation, accepted: true, reason: "", message: "" } });
  }

  async #ask(request: JoinCredentialRequest): Promise<void> {
    // Whatever was said before: we are not idle, and the answer has a deadline of its own.
    this.#cancelIdle?.();
    this.#cancelSilence?.();
    await this.#send({ $case: "joinCredentialRequest", value: request });
  }

  async #sendLogs({ requestId, step, offset, maxBytes }: CollectLogs): Promise<void> {
    let from = offset;
    let missing = Math.min(maxBytes === 0 ? MAX_COLLECTED_BYTES : maxBytes, MAX_COLLECTED_BYTES);
    for (;;) {
      const chunk = this.#parts.readOutput(step, from, Math.min(CHUNK_BYTES, missing));
      if (chunk === undefined) {
        const nothing = { requestId, offset, chunk: Buffer.alloc(0), last: true, reason: "NoSuchStep" };
        return this.#send({ $case: "logChunk", value: nothing });
      }
      missing -= chunk.bytes.length;
      const last = chunk.isLast || missing <= 0 || chunk.bytes.length === 0;
      await this.#send({ $case: "logChunk", value: { requestId, offset: chunk.offset, chunk: chunk.bytes, last, reason: "" } });
      if (last) return;
      from = chunk.offset + chunk.bytes.length;
    }
  }

  async #dryRun(requestId: string, plan: Uint8Array): Promise<void> {
    const { clock, engine } = this.#parts;
    try {
      const result = await withDeadline(clock, "the dry run", DRY_RUN_DEADLINE_MS, this.#stop.signal, (signal) =>
        engine.dryRun(plan, signal),
      );
      // A lock of a thousand images would make a message that the coordinator does not take.
      const steps = result.steps.map((step) => ({ ...step, changes: boundedChanges(step.changes) }));
      await this.#send({ $case: "dryRunResult", value: { requestId, ...result, steps } });
    } catch (error) {
      if (!(error instanceof DeadlineExceeded)) throw error;
      const { message } = error;
      await this.#send({ $case: "dryRunResult", value: { requestId, steps: [], reason: "DeadlineExceeded", message } });
    }
  }

  async #sendEvidence({ requestId, maxBytes }: CollectEvidence): Promise<void> {
    const limit = Math.min(maxBytes === 0 ? MAX_COLLECTED_BYTES : maxBytes, MAX_COLLECTED_BYTES);
    let bundle: Buffer;
    try {
      bundle = await this.#parts.evidence(limit, this.#stop.signal);
    } catch (error) {
      if (this.#stop.signal.aborted) throw error;
      this.#parts.log.error({ requestId, err: error }, "evidence could not be gathered");
      const nothing = { requestId, offset: 0, chunk: Buffer.alloc(0), last: true, reason: "GatheringFailed" };
      return this.#send({ $case: "evidenceChunk", value: nothing });
    }
    for (let offset = 0; offset < bundle.length; offset += CHUNK_BYTES) {
      const chunk = bundle.subarray(offset, offset + CHUNK_BYTES);
      const last = offset + chunk.length === bundle.length;
      await this.#send({ $case: "evidenceChunk", value: { requestId, offset, chunk, last, reason: "" } });
    }
  }

  async #runRung(request: RunRung): Promise<void> {
    const { requestId } = request;
    try {
      await this.#parts.rungs.ask(request, (end) => this.#send({ $case: "rungResult", value: { requestId, ...end } }));
    } catch (error) {
      this.#parts.log.warn({ requestId, err: error }, "a rung was not answered");
      throw error;
    }
  }

  async #whileAnswering(answer: () => Promise<void>): Promise<void> {
    this.#answering += 1;
    try {
      await answer();
    } finally {
      this.#answering -= 1;
      this.#idleSoon();
    }
  }

  #idleSoon(): void {
    const { clock, engine } = this.#parts;
    this.#cancelIdle?.();
    if (this.#stop.signal.aborted) return;
    this.#cancelIdle = clock.setTimer(IDLE_AFTER_MS, () => {
      const { accepted } = engine.journal;
      const isWorking = engine.isApplying || (isUnfinished(accepted) && accepted.ending === undefined && engine.unconfirmed === undefined);
      if (isWorking || this.#answering > 0 || this.#parts.credentials.isAwaited) return;
      this.#sendQuietly({ $case: "idle", value: {} });
      this.#cancelSilence?.();
      this.#cancelSilence = clock.setTimer(SILENCE_MS, () =>
        this.#stop.abort(new DeadlineExceeded(`the coordinator was silent for ${SILENCE_MS} ms`)),
      );
    });
  }

  #sendQuietly(body: Body): void {
    // The session's end is noticed where it is read.
    this.#send(body).catch(() => undefined);
  }

  async #send(body: Body): Promise<void> {
    await withDeadline(this.#parts.clock, "sending to the coordinator", SEND_DEADLINE_MS, this.#stop.signal, () =>
      this.#conversation.send({ body }),
    );
  }

  #nextOrAbort(messages: AsyncIterator<ConverseResponse>): Promise<IteratorResult<ConverseResponse>> {
    const { signal } = this.#stop;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason as Error);
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      messages
        .next()
        .finally(() => signal.removeEventListener("abort", onAbort))
        .then(resolve, reject);
    });
  }
}
