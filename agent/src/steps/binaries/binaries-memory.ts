/** What the binaries step remembers: what it has put where, what of its store it has verified, and which restarts it owes. */

export interface RememberedTarget {
  /** Where our link leads. */
  readonly link: string;
  /** Where it led before. */
  readonly previous?: string;
  /** Something else was there before, and is kept beside it. */
  readonly hasKept: boolean;
  readonly restarts: readonly string[];
}

export interface Verified {
  /** "sha256:<hex>" of the file itself. */
  readonly digest: string;
  /** As Files.identity gave it when the digest was right. */
  readonly version: string;
}

export interface BinariesMemory {
  readonly targets: Readonly<Record<string, RememberedTarget>>;
  /** By path in the store. */
  readonly verified: Readonly<Record<string, Verified>>;
  /** Units that run a program which has been switched since they were started. */
  readonly owed: readonly string[];
}

const NOTHING: BinariesMemory = { targets: {}, verified: {}, owed: [] };

export function readBinariesMemory(remembered: unknown): BinariesMemory {
  if (typeof remembered !== "object" || remembered === null) return NOTHING;
  return { ...NOTHING, ...(remembered as Partial<BinariesMemory>) };
}

export function without<T>(record: Readonly<Record<string, T>>, isDropped: (key: string) => boolean): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !isDropped(key)));
}
