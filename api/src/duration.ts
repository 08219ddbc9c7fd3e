/** Durations as people write them. */

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Milliseconds of a duration such as "30s", "5m" or "1h30m".
 * @throws RangeError for text that the schemas refuse
 */
export function parseDurationMs(duration: string): number {
  if (!/^(\d+(ms|s|m|h|d))+$/.test(duration)) throw new RangeError(`${JSON.stringify(duration)} is no duration`);
  let totalMs = 0;
  for (const [, amount, unit] of duration.matchAll(/(\d+)(ms|s|m|h|d)/g)) totalMs += Number(amount) * UNIT_MS[unit!]!;
  return totalMs;
}

/** The other way, for people, exact: 5400000 is "1h30m". */
export function formatDuration(durationMs: number): string {
  let restMs = Math.round(durationMs);
  let text = "";
  for (const unit of ["d", "h", "m", "s", "ms"]) {
    const unitMs = UNIT_MS[unit]!;
    const amount = Math.floor(restMs / unitMs);
    if (amount > 0) text += `${amount}${unit}`;
    restMs -= amount * unitMs;
  }
  return text === "" ? "0s" : text;
}
