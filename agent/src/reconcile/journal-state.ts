/** What the journal's records add up to. Pure: the same records always give the same state. */
import type { Change, StepKind } from "@drover/proto";

export interface Pair {
  readonly planEpoch: number;
  readonly generation: number;
}

export type JournalRecord =
  | ({ readonly type: "accepted" /** Base64 of the plan's exact bytes. */; readonly plan: string } & Pair)
  | ({ readonly type: "intent"; readonly step: string; readonly kind: StepKind; readonly changes: readonly Change[] } & Pair)
  | ({ readonly type: "done"; readonly step: string } & Pair)
  | ({ readonly type: "ended"; readonly ending: PlanEnding } & Pair)
  /** All that counts, in one record; what came before it may be trimmed. */
  | { readonly type: "snapshot"; readonly state: JournalState };

export type PlanEnding =
  | { readonly outcome: "enforced" }
  | { readonly outcome: "failed"; readonly step: string; readonly reason: string; readonly message: string; readonly isRetryable: boolean }
  | { readonly outcome: "rejected"; readonly step: string; readonly reason: string; readonly message: string };

/** A plan as it is kept; how far it has come. */
export interface AcceptedPlan extends Pair {
  readonly plan: string;
  /** Ids of steps that have ended well, in order. */
  readonly done: readonly string[];
  /** Kinds that this plan, or one before it that was not enforced, may have changed something of. */
  readonly touched: readonly StepKind[];
  /** The step whose effect may have happened without its done record. */
  readonly running: { readonly step: string; readonly kind: StepKind; readonly changes: readonly Change[] } | undefined;
  /** undefined: it is being applied. */
  readonly ending: PlanEnding | undefined;
  /** How often it has failed. */
  readonly failures: number;
}

export interface EnforcedPlan extends Pair {
  readonly plan: string;
}

export interface JournalState {
  /** The highest pair ever persisted. */
  readonly accepted: AcceptedPlan | undefined;
  /** The last one confirmed: all that reboots, drift repair and offline work may use. */
  readonly enforced: EnforcedPlan | undefined;
  /** The generation that was undone, within the accepted epoch; 0: none. */
  readonly rejectedGeneration: number;
}

export const emptyJournal: JournalState = { accepted: undefined, enforced: undefined, rejectedGeneration: 0 };

export function replay(records: readonly JournalRecord[]): JournalState {
  return records.reduce(applyRecord, emptyJournal);
}

export function applyRecord(state: JournalState, record: JournalRecord): JournalState {
  if (record.type === "snapshot") return record.state;
  if (record.type === "accepted") {
    const isSameEpoch = state.accepted?.planEpoch === record.planEpoch;
    const { planEpoch, generation, plan } = record;
    const touched = state.accepted?.ending?.outcome === "enforced" ? [] : (state.accepted?.touched ?? []);
    return {
      accepted: { planEpoch, generation, plan, done: [], touched, running: undefined, ending: undefined, failures: 0 },
      enforced: state.enforced,
      rejectedGeneration: isSameEpoch ? state.rejectedGeneration : 0,
    };
  }
  const { accepted } = state;
  // The running step of a plan that was superseded meanwhile still writes its records: they say nothing about the new plan.
  if (accepted === undefined || comparePairs(accepted, record) !== 0) return state;
  switch (record.type) {
    case "intent": {
      const { step, kind, changes } = record;
      const touched = accepted.touched.includes(kind) ? accepted.touched : [...accepted.touched, kind];
      return { ...state, accepted: { ...accepted, touched, running: { step, kind, changes }, ending: undefined } };
    }
    case "done":
      return { ...state, accepted: { ...accepted, done: [...accepted.done, record.step], running: undefined, ending: undefined } };
    case "ended":
      return afterEnding(state, accepted, record.ending);
  }
}

function afterEnding(state: JournalState, accepted: AcceptedPlan, ending: PlanEnding): JournalState {
  const { planEpoch, generation, plan } = accepted;
  switch (ending.outcome) {
    case "enforced":
      return { ...state, accepted: { ...accepted, running: undefined, ending }, enforced: { planEpoch, generation, plan } };
    case "failed":
      return { ...state, accepted: { ...accepted, ending, failures: accepted.failures + 1 } };
    case "rejected":
      return { ...state, accepted: { ...accepted, running: undefined, ending }, rejectedGeneration: generation };
  }
}

/** Whether there is something to do for the accepted plan now, or later by a retry. */
export function isUnfinished(accepted: AcceptedPlan | undefined): accepted is AcceptedPlan {
  if (accepted === undefined) return false;
  return accepted.ending === undefined || (accepted.ending.outcome === "failed" && accepted.ending.isRetryable);
}

/** Below zero when a comes before b. */
export function comparePairs(a: Pair, b: Pair): number {
  return a.planEpoch - b.planEpoch || a.generation - b.generation;
}
