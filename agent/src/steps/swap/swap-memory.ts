/** What the swap step remembers: each thing it has changed, so that exactly this goes back. */

export interface SwapMemory {
  /** Units that we have masked. */
  readonly masked: readonly string[];
  /** We have written zram-generator's file. */
  readonly isZramOurs: boolean;
  /** Swaps that we have switched off. */
  readonly off: readonly { readonly path: string; readonly priority: number }[];
}

const NOTHING: SwapMemory = { masked: [], isZramOurs: false, off: [] };

/** undefined: nothing was ever changed here. */
export function readSwapMemory(remembered: unknown): SwapMemory | undefined {
  if (typeof remembered !== "object" || remembered === null) return undefined;
  const { masked, isZramOurs, off } = { ...NOTHING, ...(remembered as Partial<SwapMemory>) };
  return {
    masked: Array.isArray(masked) ? masked.filter((name) => typeof name === "string") : [],
    isZramOurs,
    off: Array.isArray(off) ? off.filter((each) => typeof each?.path === "string" && typeof each.priority === "number") : [],
  };
}

export function mergedSwapMemory(memory: SwapMemory | undefined, added: Partial<SwapMemory>): SwapMemory {
  const before = memory ?? NOTHING;
  const off = new Map([...before.off, ...(added.off ?? [])].map((each) => [each.path, each]));
  return {
    masked: [...new Set([...before.masked, ...(added.masked ?? [])])].sort(),
    isZramOurs: before.isZramOurs || added.isZramOurs === true,
    off: [...off.values()],
  };
}
