/** What reconcile needs of the rest of the agent: somewhere to report to, and somewhere to put what steps say. */
import type { Event, Progress } from "@drover/proto";

export interface Reporter {
  /** Durable in the outbox when resolved, in the order of the calls; sent at once. */
  record(events: readonly Event[]): Promise<void>;
  /** Routine: in the order of the calls, made durable and sent within the batch interval; may be dropped under pressure. */
  note(events: readonly Event[]): void;
}

export interface OutputSink {
  begin(step: string): StepOutput;
}

export interface StepOutput {
  say(line: string): void;
  /** When all is on disk. */
  finish(): Promise<OutputSummary>;
}

export interface OutputSummary {
  /** The last 2 KiB. */
  readonly tail: string;
  /** SHA-256 over all, 32 bytes; empty: no output. */
  readonly digest: Buffer;
  /** What the node still holds of it. */
  readonly heldBytes: number;
}

/** To the open session, if there is one. */
export type ShowProgress = (progress: Progress) => void;
