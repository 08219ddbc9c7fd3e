/** A running simulation as its users see it: benchmarks, tests and `drover sim`. */
import type { OperatorClient } from "@drover/proto";

/** Which agents: indexes from 0, or a share taken by the seed. */
export type Selection = readonly number[] | { readonly share: number };

export interface Sim extends AsyncDisposable {
  /** Everything lies here: data/ (the coordinator's), coordinator.log, profiles. */
  readonly directory: string;
  readonly contextFile: string;
  /** Of admin "sim", on mTLS, to this coordinator. */
  readonly operator: OperatorClient;
  /** Node ids and names by agent's index. */
  nodeId(index: number): string;
  nodeName(index: number): string;
  indexOf(nodeId: string): number | undefined;
  /** Which indexes a selection stands for. */
  select(selection: Selection): readonly number[];

  /** Applies objects as `drover apply` does. @returns the names of the Rollouts that this started; @throws with the coordinator's words */
  apply(objects: readonly object[]): Promise<readonly string[]>;
  /** Resolves when every agent is connected and has beaten once since the start. */
  readonly settled: Promise<void>;
  /** As the agents count, since the start. */
  readonly counts: Readonly<AgentCounts>;
  /** How agents beat now, budgets taken: the interval most of them have, ms. */
  readonly heartbeatIntervalMs: number;

  /** What the coordinator says of itself. Costs it about as much as one heartbeat of each node when `verdicts` is asked for. */
  observe(wanted?: ObservationWanted): Promise<Observation>;
  /** Verdicts as they change, in order, since the start; survives a coordinator's restart. */
  readonly verdictChanges: readonly VerdictChange[];
  onVerdict(listen: (change: VerdictChange) => void): () => void;

  /** What was used in a window of that length, by process. */
  measure(ms: number): Promise<Usage>;

  // Faults.
  /** They beat, report and answer no more, as if the machine were dead. */
  silence(selection: Selection): void;
  /** Those who were silent go on; a restart of the agent, with a new process, the same outbox. */
  revive(selection: Selection): void;
  /** Whether a knock at the machine's port is answered. At the start every one is; only where probePort is given. */
  knockable(selection: Selection, isAnswered: boolean): Promise<void>;
  /** What they send comes that much later. 0 ends it. */
  lag(selection: Selection, ms: number): void;
  /** Their clocks differ by this, ms. */
  skew(selection: Selection, ms: number): void;
  /** Clones: the same identity, another process and outbox, as if a disk had been copied. */
  duplicate(selection: Selection): void;
  /** Steps of this kind, or all, end like this; undefined: as they should. */
  failSteps(selection: Selection, failure: StepFailure | undefined): void;
  /** What a step takes, ms. */
  slowSteps(selection: Selection, ms: number): void;
  /** Each of them tells one delta now (a condition that changes). */
  reportDelta(selection: Selection): void;
  /** How often they beat, until a budget of the coordinator tells otherwise: offered load that nobody has asked for. */
  beatEvery(ms: number): void;
  /** Share of agents that tell one delta per minute, from now on. */
  setChangesPerMinute(share: number): void;

  // Processes.
  readonly coordinatorPid: number;
  readonly natsPid: number;
  signal(target: "coordinator" | "nats", name: NodeJS.Signals): void;
  /** Ends it and resolves when it is gone; NATS lives on after KILL. */
  endCoordinator(name: "SIGTERM" | "SIGKILL"): Promise<void>;
  /** Resolves when it serves. @returns ms from start to serving */
  startCoordinator(): Promise<number>;

  /** What was acknowledged to agents and what the report log holds. Ends the coordinator first. */
  reconcileReports(): Promise<{ readonly sent: number; readonly acknowledged: number; readonly lost: number; readonly twice: number }>;
  /** Ends everything. Also on abort of the signal it was started with. */
  stop(): Promise<void>;
}

export interface ObservationWanted {
  readonly verdicts?: boolean;
  /** Collects garbage before memory is read; needs nodeArguments --expose-gc. */
  readonly collect?: boolean;
}

export interface AgentCounts {
  connections: number;
  reconnects: number;
  beats: number;
  /** Batches published, resends included. */
  reportsPublished: number;
  reportsSealed: number;
  reportsAcknowledged: number;
  wakes: number;
  sessions: number;
  sessionsFailed: number;
  plansAccepted: number;
  plansEnforced: number;
  plansFailed: number;
  /** Accepted and not yet ended. */
  enforcing: number;
  budgets: number;
  silent: number;
}

export interface StepFailure {
  /** A step kind, such as "sysctl"; undefined: any. */
  readonly kind?: string;
  /** CamelCase. */
  readonly reason: string;
  readonly message: string;
}

export interface VerdictChange {
  /** performance.now() of the simulation when it was told. */
  readonly atMs: number;
  readonly nodeId: string;
  readonly verdict: "healthy" | "unhealthy" | "unknown";
  readonly reason: string;
}

export interface Observation {
  /** Values of the counters and gauges of its metrics that cost nothing to read, by their name without prefix: heartbeats_total, reports_folded_total, ... */
  readonly totals: Readonly<Record<string, number>>;
  readonly liveSessions: number;
  /** "healthy": 99,000 and so on; only when asked for. */
  readonly verdicts: Readonly<Record<string, number>>;
  readonly reasons: Readonly<Record<string, number>>;
  readonly memory: { readonly rssBytes: number; readonly heapUsedBytes: number; readonly externalBytes: number };
  /** The longest that its event loop was held since it was started, ms. */
  readonly loopHeldMs: number;
}

export interface Usage {
  readonly seconds: number;
  /** CPU seconds per second: 0.25 is a quarter of a core. */
  readonly coordinatorCores: number;
  readonly natsCores: number;
  readonly simCores: number;
  /** Resident, at the end. */
  readonly coordinatorBytes: number;
  readonly natsBytes: number;
  readonly beats: number;
  /** As the coordinator counted them. */
  readonly beatsTaken: number;
  readonly reportsTaken: number;
  /** How late the simulation's own timers were at worst, ms: well above 100 means that it could not keep up, and the figures are too good. */
  readonly worstLateMs: number;
}
