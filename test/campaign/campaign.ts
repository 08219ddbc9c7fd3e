/** A campaign injects faults many times from a seed; its count and seed make a run repeatable. */

export interface Campaign {
  readonly name: string;
  /** One sentence: what is done to what, and what must hold. */
  readonly summary: string;
  /** How many cases make it whole; .ci/run does a tenth. */
  readonly fullCount: number;
  /**
   * Runs `count` cases chosen by `seed`; says one line per failure through `say`.
   * @returns how many cases passed and failed; passed + failed must be count
   */
  run(options: { readonly count: number; readonly seed: number; readonly say: (line: string) => void }): Promise<CampaignResult>;
}

export interface CampaignResult {
  readonly passed: number;
  readonly failed: number;
}
