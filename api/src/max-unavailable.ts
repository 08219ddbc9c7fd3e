/** How many nodes a maxUnavailable means. */

/**
 * A percentage is rounded down, but below 100 % never to none and, of several nodes, never to all.
 * @param value as the schemas allow it: a number from 1, or "1%" to "100%"
 * @param total how many nodes there are
 */
export function resolveMaxUnavailable(value: number | string, total: number): number {
  if (total <= 0) return 0;
  if (typeof value === "number") return Math.min(value, total);
  const percent = Number.parseInt(value, 10);
  if (percent >= 100) return total;
  const share = Math.floor((total * percent) / 100);
  return Math.max(1, Math.min(share, total - 1));
}
