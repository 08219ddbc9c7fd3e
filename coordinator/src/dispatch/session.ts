/** One live conversation: what was offered, what is asked and not answered yet, and when it is quiet enough to close. */
import type { Clock } from "@drover/lifecycle";
import type { ConverseResponse, DryRunResult, EvidenceChunk, Hello, LogChunk, PlanAnswer, RungResult } from "@drover/proto";
import type { DesiredNode } from "../records.ts";
import { Refused, refuse } from "../refusal.ts";
import { Channel } from "./channel.ts";
import { isOlder, lackingKinds } from "./planned-steps.ts";

/** A node that pulls a large image may say nothing for a while; closing loses live progress only. */
const SILENCE_MS = 120_000;
const CAPACITY = 256;
const ENDED = "the node's session ended";

interface Pair {
  readonly planEpoch: number;
  readonly generation: number;
}

export class Session {
  readonly nodeId: string;
  readonly hello: Hello;
  readonly outbound = new Channel<ConverseResponse>(CAPACITY);
  readonly #clock: Clock;
  readonly #logs = new Map<string, Channel<LogChunk>>();
  readonly #dryRuns = new Map<string, { readonly resolve: (result: DryRunResult) => void; readonly reject: (error: unknown) => void }>();
  readonly #rungs = new Map<string, { readonly resolve: (result: RungResult) => void; readonly reject: (error: unknown) => void }>();
  readonly #evidence = new Map<string, Channel<EvidenceChunk>>();
  #accepted: Pair;
  #offered: Pair = { planEpoch: 0, generation: 0 };
  #isAnswerAwaited = false;
  /** Those who woke the node and are about to ask. */
  #expectedRequests = 0;
  /** What the node has asked, and we answer. */
  #answering = 0;
  readonly #over = new AbortController();
  #heardAtMs: number;

  constructor(nodeId: string, hello: Hello, clock: Clock) {
    this.nodeId = nodeId;
    this.hello = hello;
    this.#clock = clock;
    this.#heardAtMs = clock.monotonicMs();
    this.#accepted = { planEpoch: hello.acceptedEpoch, generation: hello.acceptedGeneration };
  }

  /** The highest pair the node has ever persisted. */
  get accepted(): Pair {
    return this.#accepted;
  }

  /** Aborts when the session is. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** Whether something is asked, or is about to be, that was not answered: by the node, or by us. */
  get isBusy(): boolean {
    const asked = this.#logs.size + this.#dryRuns.size + this.#rungs.size + this.#evidence.size;
    return this.#answering > 0 || this.#isAnswerAwaited || this.#expectedRequests > 0 || asked > 0;
  }

  send(body: NonNullable<ConverseResponse["body"]>): void {
    this.outbound.push({ body });
  }

  /** Sends the plan unless the node has it, was sent it here already, or cannot do it. */
  offer(desired: DesiredNode): void {
    if (!isOlder(this.#accepted, desired) || !isOlder(this.#offered, desired)) return;
    if (lackingKinds(desired, this.hello.stepKinds).length > 0) return;
    this.#offered = { planEpoch: desired.planEpoch, generation: desired.generation };
    this.#isAnswerAwaited = true;
    this.send({ $case: "applyPlan", value: { signedPlan: { plan: Buffer.from(desired.plan, "base64"), signatures: [] } } });
  }

  answered(answer: PlanAnswer): void {
    this.#isAnswerAwaited = false;
    const pair = { planEpoch: answer.planEpoch, generation: answer.generation };
    if (answer.accepted && isOlder(this.#accepted, pair)) this.#accepted = pair;
  }

  /** The node was woken for this many requests: an Idle that comes before them does not close the session. */
  expectRequests(count: number): void {
    this.#expectedRequests += count;
  }

  /** The node waits for us. @returns what is called when it was answered */
  beginAnswer(): () => void {
    this.#answering += 1;
    return () => {
      this.#answering -= 1;
      // It was not silent, we were.
      this.heard();
    };
  }

  expectLogs(requestId: string): Channel<LogChunk> {
    this.#expectedRequests = Math.max(0, this.#expectedRequests - 1);
    const chunks = new Channel<LogChunk>(CAPACITY);
    this.#logs.set(requestId, chunks);
    return chunks;
  }

  tookLogs(chunk: LogChunk): void {
    this.#logs.get(chunk.requestId)?.push(chunk);
  }

  expectDryRun(requestId: string): Promise<DryRunResult> {
    this.#expectedRequests = Math.max(0, this.#expectedRequests - 1);
    const answer = new Promise<DryRunResult>((resolve, reject) => this.#dryRuns.set(requestId, { resolve, reject }));
    // Whoever asked may have given up already.
    answer.catch(() => undefined);
    return answer;
  }

  tookDryRun(result: DryRunResult): void {
    this.#dryRuns.get(result.requestId)?.resolve(result);
  }

  expectRung(requestId: string): Promise<RungResult> {
    this.#expectedRequests = Math.max(0, this.#expectedRequests - 1);
    const answer = new Promise<RungResult>((resolve, reject) => this.#rungs.set(requestId, { resolve, reject }));
    answer.catch(() => undefined);
    return answer;
  }

  tookRung(result: RungResult): void {
    this.#rungs.get(result.requestId)?.resolve(result);
  }

  expectEvidence(requestId: string): Channel<EvidenceChunk> {
    this.#expectedRequests = Math.max(0, this.#expectedRequests - 1);
    const chunks = new Channel<EvidenceChunk>(CAPACITY);
    this.#evidence.set(requestId, chunks);
    return chunks;
  }

  tookEvidence(chunk: EvidenceChunk): void {
    this.#evidence.get(chunk.requestId)?.push(chunk);
  }

  forget(requestId: string): void {
    this.#logs.get(requestId)?.close();
    this.#logs.delete(requestId);
    this.#dryRuns.delete(requestId);
    this.#rungs.delete(requestId);
    this.#evidence.get(requestId)?.close();
    this.#evidence.delete(requestId);
  }

  heard(): void {
    this.#heardAtMs = this.#clock.monotonicMs();
  }

  /** @returns what stops watching */
  closeWhenSilent(): () => void {
    let cancel: () => void = () => undefined;
    const look = (): void => {
      const quietMs = this.#clock.monotonicMs() - this.#heardAtMs;
      if (quietMs >= SILENCE_MS && this.#answering === 0) this.outbound.close();
      else cancel = this.#clock.setTimer(Math.max(1_000, SILENCE_MS - quietMs), look);
    };
    look();
    return () => cancel();
  }

  /** Nobody will answer any more. */
  end(): void {
    this.outbound.close();
    // Most sessions end with nobody waiting, and an error costs more than the rest of the ending.
    if (!this.isBusy) return this.#over.abort(ENDED);
    const gone = new Refused(refuse("Unreachable", "the node's session ended before it answered"));
    this.#over.abort(gone);
    for (const chunks of [...this.#logs.values(), ...this.#evidence.values()]) chunks.fail(gone);
    for (const { reject } of [...this.#dryRuns.values(), ...this.#rungs.values()]) reject(gone);
  }
}
