/** What one end-to-end scenario is: a story played on real machines of the test bed. */

export interface E2eScenario {
  readonly name: string;
  readonly summary: string;
  /** Whether it belongs to a run that should take minutes. */
  readonly isShort: boolean;
  /** Throws with what did not hold. */
  run(say: (line: string) => void): Promise<void>;
}
