/** Bytes as people write them. */

const FACTORS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/**
 * Bytes of a quantity such as 512, "1.5Gi" or "200M"; a fraction of a byte counts as one.
 * @throws RangeError for text that the schemas refuse
 */
export function parseBytes(quantity: number | string): number {
  if (typeof quantity === "number") return quantity;
  const match = /^(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?$/.exec(quantity);
  if (match === null) throw new RangeError(`${JSON.stringify(quantity)} is no quantity of bytes`);
  return Math.ceil(Number(match[1]) * FACTORS[match[2] ?? ""]!);
}

/** The other way, for people: 1536 is "1.5Ki". */
export function formatBytes(bytes: number): string {
  for (const suffix of ["Ti", "Gi", "Mi", "Ki"]) {
    const amount = bytes / FACTORS[suffix]!;
    if (amount >= 1) return `${Number(amount.toFixed(1))}${suffix}`;
  }
  return String(bytes);
}
