/** Which conditions are bad news, and which labels are facts. */

/** Labels that the coordinator makes of a machine's facts. */
export const FACT_LABELS = "drover.dev/";

/** Conditions whose True is the bad news; of all others it is False. */
const BAD_WHEN_TRUE: ReadonlySet<string> = new Set(["CellDisrupted", "SysctlShadowed", "Revoked"]);

interface Told {
  readonly type: string;
  readonly status: string;
}

/** The one condition to name when there is room for one: out of sync says more than what stands beside it. */
export function worstOf<C extends Told>(conditions: readonly C[]): C | undefined {
  const bad = conditions.filter(isBad);
  return bad.find(({ type }) => type === "Revoked") ?? bad.find(({ type }) => type === "InSync") ?? bad[0];
}

function isBad(condition: Told): boolean {
  return condition.status === (BAD_WHEN_TRUE.has(condition.type) ? "True" : "False");
}
