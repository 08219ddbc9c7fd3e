/**
 * Bootstrap tokens by way of the live conversation: asked for when a step needs one, asked again when the session breaks, never kept. What is
 * answered is a Secret from the moment it arrives; an answer that nobody waits for is dropped unseen.
 */
import { type Clock, DeadlineExceeded, type Random, Secret, withDeadline } from "@drover/lifecycle";
import type { JoinCredential, JoinCredentialRequest } from "@drover/proto";
import { type Credentials, StepError } from "../steps/step.ts";

/** From the request to its answer, in one session. */
const ANSWER_MS = 30_000;
/** From the step's question on, whatever sessions do. */
const TOTAL_MS = 120_000;
/** Told that it asks too often, as after a session that broke at once. */
const ASK_AGAIN_MS = 3_000;
const TOKEN = /^[a-z0-9]{6}\.[a-z0-9]{16}$/;
const MAX_MESSAGE = 500;

/** What a session gives to be asked through. */
export interface CredentialLine {
  ask(request: JoinCredentialRequest): Promise<void>;
  /** Nothing is awaited any more: the session may go idle. */
  settled(): void;
}

interface Waiter {
  readonly resolve: (token: Secret) => void;
  readonly reject: (error: Error) => void;
}

interface Question {
  readonly cluster: string;
  readonly generation: number;
  /** All who want the same share one answer: a second token would make the first worthless. */
  readonly waiters: Set<Waiter>;
  /** Empty: not asked in this session. */
  requestId: string;
  cancelTimer: () => void;
  /** What the coordinator said last; empty: nothing. */
  refusal: string;
}

export class JoinCredentials implements Credentials {
  readonly #clock: Clock;
  readonly #random: Random;
  /** The first is under way, the others wait for it: the coordinator makes one at a time. */
  readonly #questions: Question[] = [];
  #line: CredentialLine | undefined;
  #wantSession: () => void = () => undefined;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Somebody waits for an answer: the session stays, and a broken one is opened again. */
  get isAwaited(): boolean {
    return this.#questions.length > 0;
  }

  /** One listener; called when a question waits and no session is open. */
  onSessionWanted(listen: () => void): void {
    this.#wantSession = listen;
  }

  async bootstrapToken(wanted: { readonly cluster: string; readonly generation: number }, signal: AbortSignal): Promise<Secret> {
    const asked: { question?: Question } = {};
    try {
      return await withDeadline(this.#clock, "a bootstrap token", TOTAL_MS, signal, (stop) => {
        asked.question = this.#questionFor(wanted);
        return this.#answer(asked.question, stop);
      });
    } catch (error) {
      if (signal.aborted || !(error instanceof DeadlineExceeded)) throw error;
      throw unavailable(asked.question?.refusal || `the coordinator could not be reached, or did not answer, within ${TOTAL_MS / 1000} s`);
    }
  }

  /** A session is open. @returns what is called when it is over */
  attach(line: CredentialLine): () => void {
    this.#line = line;
    if (this.isAwaited) this.#goOn();
    return () => {
      if (this.#line !== line) return;
      this.#line = undefined;
      for (const question of this.#questions) this.#unask(question);
    };
  }

  take({ requestId, bootstrapToken, reason, message }: JoinCredential): void {
    const question = this.#questions.find((each) => each.requestId !== "" && each.requestId === requestId);
    if (question === undefined) return;
    this.#unask(question);
    if (bootstrapToken === "" && reason === "RateLimited") {
      question.refusal = refusalText(reason, message);
      question.cancelTimer = this.#clock.setTimer(ASK_AGAIN_MS, () => this.#goOn());
      return;
    }
    if (bootstrapToken === "") this.#end(question, ({ reject }) => reject(unavailable(refusalText(reason, message))));
    else if (!TOKEN.test(bootstrapToken))
      this.#end(question, ({ reject }) => reject(unavailable("what the coordinator gave is no bootstrap token")));
    else this.#end(question, ({ resolve }) => resolve(new Secret(bootstrapToken)));
  }

  #questionFor({ cluster, generation }: { readonly cluster: string; readonly generation: number }): Question {
    const known = this.#questions.find((each) => each.cluster === cluster && each.generation === generation);
    if (known !== undefined) return known;
    const question: Question = { cluster, generation, waiters: new Set(), requestId: "", cancelTimer: () => undefined, refusal: "" };
    this.#questions.push(question);
    return question;
  }

  #answer(question: Question, stop: AbortSignal): Promise<Secret> {
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      question.waiters.add(waiter);
      const onAbort = (): void => {
        question.waiters.delete(waiter);
        reject(stop.reason as Error);
        if (question.waiters.size === 0) this.#end(question, () => undefined);
      };
      if (stop.aborted) return onAbort();
      stop.addEventListener("abort", onAbort, { once: true });
      this.#goOn();
    });
  }

  #goOn(): void {
    const [first] = this.#questions;
    if (first === undefined) return this.#line?.settled();
    if (this.#line === undefined) return this.#wantSession();
    if (first.requestId !== "") return;
    first.cancelTimer();
    first.requestId = this.#random.bytes(8).toString("hex");
    first.cancelTimer = this.#clock.setTimer(ANSWER_MS, () => {
      const text = `the coordinator did not answer within ${ANSWER_MS / 1000} s`;
      this.#end(first, ({ reject }) => reject(unavailable(text)));
    });
    const { requestId, generation, cluster } = first;
    // The session's end is noticed where it is read; what cannot be sent has no answer.
    this.#line.ask({ requestId, generation, cluster }).catch(() => undefined);
  }

  #unask(question: Question): void {
    question.requestId = "";
    question.cancelTimer();
  }

  #end(question: Question, tell: (waiter: Waiter) => void): void {
    const index = this.#questions.indexOf(question);
    if (index < 0) return;
    this.#questions.splice(index, 1);
    this.#unask(question);
    for (const waiter of question.waiters) tell(waiter);
    this.#goOn();
  }
}

function refusalText(reason: string, message: string): string {
  const why = `${reason === "" ? "no reason" : reason}${message === "" ? "" : `: ${message}`}`;
  return `the coordinator gave none: ${why.length > MAX_MESSAGE ? `${why.slice(0, MAX_MESSAGE)}...` : why}`;
}

function unavailable(message: string): StepError {
  return new StepError("JoinCredentialUnavailable", message, true);
}
