/** Durations as people write them: "500ms", "30s", "1h30m". */

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds; undefined when text is no duration. */
export function parseDurationMs(text: string): number | undefined {
  if (!/^(\d{1,9}(ms|s|m|h|d))+$/.test(text)) return undefined;
  let totalMs = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g)) totalMs += Number(amount) * (UNITS_MS[unit ?? ""] ?? 0);
  return totalMs;
}
