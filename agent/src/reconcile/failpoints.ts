/** Every place where a campaign may kill the agent, by name. A port: the core calls it, who starts the agent says what it does. */

export const failpointNames = [
  "journal.accepted.before",
  "journal.accepted.after",
  "journal.intent.before",
  "journal.intent.after",
  "step.apply.before",
  "step.apply.after",
  "step.verified.after",
  "report.result.before",
  "report.result.after",
  "journal.done.before",
  "journal.done.after",
  "report.finished.before",
  "report.finished.after",
  "journal.ended.before",
  "journal.ended.after",
  "drift.repair.before",
  "drift.repair.after",
  "report.drift.after",
  "journal.compacted.before",
  "journal.compacted.after",
] as const;

export type FailpointName = (typeof failpointNames)[number];

/** Called when the core passes that place; either does nothing or never returns. */
export type Failpoint = (name: FailpointName) => void;

export const noFailpoint: Failpoint = () => {};

/**
 * Fires at the k-th passing of one place.
 * @param setting "name:k", k from 1, as in DROVER_FAILPOINT; "*:k" counts the passings of all places
 * @throws RangeError when it is not of that form
 */
export function failpointFrom(setting: string, fire: () => void): Failpoint {
  const match = /^([a-z.]+|\*):([1-9]\d{0,8})$/.exec(setting);
  const wanted = match?.[1];
  if (match === null || (wanted !== "*" && !failpointNames.includes(wanted as FailpointName))) {
    throw new RangeError(`${JSON.stringify(setting)} is no failpoint: want "name:k" with a name of ${failpointNames.join(", ")}, or "*:k"`);
  }
  let left = Number(match[2]);
  return (name) => {
    if (wanted !== "*" && name !== wanted) return;
    left -= 1;
    if (left === 0) fire();
  };
}
