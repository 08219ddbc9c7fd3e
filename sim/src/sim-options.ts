/** What a simulation is asked for. */

export type Tier =
  /** Agents with identity, seq, jitter and state machine of their own, over few NATS connections; sessions without TLS through a door of the simulation's. */
  | "logical"
  /** Each agent on its own NATS TLS connection with its own credential, and on its own mTLS session when woken. */
  | "socket";

export interface SimOptions {
  readonly agents: number;
  /** Default: logical. */
  readonly tier?: Tier;
  /** The same seed gives the same nodes, jitter and faults. Default 1. */
  readonly seed?: number;
  /** What agents beat at until a budget tells otherwise. Default 10,000. */
  readonly heartbeatIntervalMs?: number;
  /**
   * How the fleet is found: converged, with NodeSet "sim" rolled out before and reported; enrolled, with no plan and nothing reported.
   * Default: converged.
   */
  readonly start?: "converged" | "enrolled";
  /** Share of agents that tell one delta (a condition) per minute. Default 0.01. */
  readonly changesPerMinute?: number;
  /** Zones "zone-0"... and racks "rack-0"..., dealt round robin. Default 5 and one per 40 agents. */
  readonly zones?: number;
  readonly racks?: number;
  /** Between sessions that nobody asked for, ms; 30 % jitter. Default 600,000, as agents have it. */
  readonly pollMs?: number;
  /** What a step takes in agents, ms; 20 % jitter is added. Default 500. */
  readonly stepMs?: number;
  /** Where NodeSet "sim" says that machines can be knocked at; undefined: there is no second path. See Sim.knockable. */
  readonly probePort?: number;
  /** Container images that each agent reports at the start (converged only). Default 0. */
  readonly imagesPerNode?: number;
  /** More keys of coordinator.yaml, by their names there. */
  readonly coordinatorConfig?: Readonly<Record<string, unknown>>;
  /** More arguments of the coordinator's Node, such as --cpu-prof; its working directory is Sim.directory. */
  readonly nodeArguments?: readonly string[];
  /** More environment of the coordinator. */
  readonly coordinatorEnvironment?: Readonly<Record<string, string>>;
  /** Kept afterwards when given; else a temporary one, removed. */
  readonly directory?: string;
  /** Told what is being done, a line at a time. */
  readonly say?: (line: string) => void;
}
