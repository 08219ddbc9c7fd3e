/** All stories, and what tells one. */
import type { Tale } from "./tale.ts";

export interface TaleOf {
  /** Of its file under transcripts/. */
  readonly name: string;
  /** What it is about, in a sentence. */
  readonly about: string;
  readonly tell: (tale: Tale) => void;
  /** Too long for every variation: some are drawn. */
  readonly isLong?: boolean;
}

/** n01, n02...: as many digits as the last one needs. */
export function seededNames(count: number): readonly string[] {
  const digits = String(count).length;
  return Array.from({ length: count }, (_, index) => `n${String(index + 1).padStart(digits, "0")}`);
}
