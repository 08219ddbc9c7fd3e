/** The node's conditions as last told, and what of it is news. Pure. */
import { type ConditionReport, ConditionStatus } from "@drover/proto";
import type { StepCondition } from "../steps/step.ts";

export interface HeldCondition extends StepCondition {
  /** The step kind that tells it; "node" for the agent's own. */
  readonly owner: string;
  /** Unix milliseconds, node's clock, when the status last changed. */
  readonly lastTransitionMs: number;
}

export type ConditionBook = readonly HeldCondition[];

/**
 * Takes what one owner tells now, all of it: conditions that it told before and does not tell now are told once more, as Unknown.
 * @returns the new book, and the reports that are news
 */
export function tell(
  book: ConditionBook,
  owner: string,
  found: readonly StepCondition[],
  nowMs: number,
): { readonly book: ConditionBook; readonly news: readonly ConditionReport[] } {
  const news: ConditionReport[] = [];
  const told = found.map((condition): HeldCondition => {
    const before = book.find((held) => held.type === condition.type);
    const lastTransitionMs = before?.status === condition.status ? before.lastTransitionMs : nowMs;
    const held: HeldCondition = { ...condition, owner, lastTransitionMs };
    if (before === undefined || !isSame(before, held)) news.push(reportOf(held));
    return held;
  });
  const types = new Set(told.map((condition) => condition.type));
  const others = book.filter((held) => {
    if (types.has(held.type)) return false;
    if (held.owner !== owner) return true;
    news.push(reportOf({ ...held, status: "Unknown", reason: "NotManaged", message: "", lastTransitionMs: nowMs }));
    return false;
  });
  return { book: [...others, ...told].sort((a, b) => (a.type < b.type ? -1 : 1)), news };
}

export function reportOf(condition: HeldCondition): ConditionReport {
  const { type, reason, message, lastTransitionMs } = condition;
  return { type, status: STATUS[condition.status], reason, message, lastTransitionMs };
}

const STATUS = {
  True: ConditionStatus.CONDITION_STATUS_TRUE,
  False: ConditionStatus.CONDITION_STATUS_FALSE,
  Unknown: ConditionStatus.CONDITION_STATUS_UNKNOWN,
} as const;

function isSame(a: HeldCondition, b: HeldCondition): boolean {
  return a.status === b.status && a.reason === b.reason && a.message === b.message;
}
