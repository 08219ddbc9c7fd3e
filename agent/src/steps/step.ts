/** The contract of a step. The engine around it (journal, verification, reports) is reconcile/'s. */
import type { Change, Progress, SpecOf, StepKind } from "@drover/proto";
import type { Clock, Secret } from "@drover/lifecycle";
import type { Host } from "../host/host.ts";

export interface Step<K extends StepKind, Observed = unknown> {
  /** The proto oneof case. */
  readonly kind: K;
  /** What the step is given when the plan no longer names it but its memory is not empty: puts back what it changed. */
  readonly emptySpec: SpecOf<K>;
  /** Reads only. */
  observe(spec: SpecOf<K>, context: StepContext): Promise<Observed>;
  /** Pure: why this spec must not be applied here; undefined when it may. Asked before diff. */
  refuse(spec: SpecOf<K>, observed: Observed): Refusal | undefined;
  /** Pure; empty means in sync. */
  diff(spec: SpecOf<K>, observed: Observed): readonly Change[];
  /** Pure: what the node tells about this step besides being in sync. */
  conditions(spec: SpecOf<K>, observed: Observed): readonly StepCondition[];
  /**
   * Idempotent; killed anywhere and run again it ends the same. Whoever calls observes again afterwards.
   * @throws StepError for an expected failure; anything else is a bug or I/O
   */
  apply(spec: SpecOf<K>, changes: readonly Change[], context: StepContext): Promise<void>;
}

export interface StepContext {
  readonly host: Host;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Of the plan that is applied, compared or undone. */
  readonly generation: number;
  /** The change was not confirmed (I4): what is under way is taken back at once, not finished. */
  readonly isUndo?: boolean;
  /** What the step must remember across runs and crashes; durable when the promise resolves. */
  readonly memory: StepMemory;
  readonly credentials: Credentials;
  /** One line into the step's output ring; secrets never. */
  say(line: string): void;
  progress(progress: StepProgress): void;
}

export type StepProgress = Pick<Progress, "item" | "phase" | "doneBytes" | "totalBytes" | "message">;

/** Secrets that are asked for when they are needed, and never kept. */
export interface Credentials {
  /**
   * A bootstrap token of that cluster, made for this node now and good for minutes; asking again makes the one before worthless.
   * @throws StepError JoinCredentialUnavailable, retryable, when the coordinator cannot be reached or does not give one
   */
  bootstrapToken(wanted: { readonly cluster: string; readonly generation: number }, signal: AbortSignal): Promise<Secret>;
}

export interface StepMemory {
  /** undefined: never set, or cleared. */
  get(): Promise<unknown>;
  /** JSON; undefined clears. */
  set(value: unknown): Promise<void>;
}

export interface Refusal {
  /** CamelCase. */
  readonly reason: string;
  readonly message: string;
}

export interface StepCondition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
}

/** An expected failure of a step. */
export class StepError extends Error {
  override readonly name = "StepError";
  /** CamelCase, from one list per step. */
  readonly reason: string;
  /** Whether trying again later may help without a new plan. */
  readonly isRetryable: boolean;
  /** The step took back what this apply had changed and saw that it is back: the plan is rejected, for good. */
  readonly isUndone: boolean;

  constructor(reason: string, message: string, isRetryable: boolean, isUndone = false) {
    super(message);
    this.reason = reason;
    this.isRetryable = isRetryable;
    this.isUndone = isUndone;
  }
}

/** Where there is no coordinator to ask: offline work, dry runs. */
export const noCredentials: Credentials = {
  bootstrapToken: () =>
    Promise.reject(
      new StepError("JoinCredentialUnavailable", "a bootstrap token comes from the coordinator, and there is none here", true),
    ),
};
