/** What a benchmark gives: figures with their conditions, never a verdict of pass or fail by time alone. */

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it should stay at or below (or, with isFloor, at or above). */
  readonly limit?: number;
  readonly isFloor?: boolean;
  readonly peer?: string;
  readonly ratio?: number;
}

export interface ScenarioResult {
  readonly scenario: string;
  /** What stood for the fleet: real sockets, logical agents, one real machine. */
  readonly tier: string;
  readonly conditions: Readonly<Record<string, string | number>>;
  readonly figures: readonly Figure[];
}

export interface Scenario {
  readonly name: string;
  readonly summary: string;
  run(options: ScenarioOptions): Promise<ScenarioResult>;
}

export interface ScenarioOptions {
  /** Minutes of the idle measurement; the figures are defined for 20. */
  readonly minutes: number;
  /** Of a scenario with cases: these alone. Default: all. */
  readonly cases?: readonly string[];
  /** Of a scenario with a simulated fleet whose size may be chosen. */
  readonly agents?: number;
  readonly say: (line: string) => void;
}
