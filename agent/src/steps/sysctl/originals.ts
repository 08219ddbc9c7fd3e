/** What the sysctl step remembers: of each key it has set, the value that the kernel had before. */

/** Key to value. */
export type Originals = Readonly<Record<string, string>>;

/** @param remembered what the step's memory holds; what is not ours to read counts as nothing */
export function readOriginals(remembered: unknown): Originals {
  const originals = (remembered as { originals?: unknown } | undefined)?.originals;
  if (typeof originals !== "object" || originals === null) return {};
  return Object.fromEntries(Object.entries(originals).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

/** @returns what to put into memory; undefined when there is nothing to remember */
export function rememberedOriginals(originals: Originals): { readonly originals: Originals } | undefined {
  return Object.keys(originals).length === 0 ? undefined : { originals };
}
