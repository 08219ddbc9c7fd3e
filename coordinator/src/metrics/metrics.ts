/** What the coordinator counts for Prometheus. Read when scraped; nothing here costs anything in between. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Gauge, Registry } from "prom-client";
import { version } from "../version.ts";

export interface Census {
  readonly nodesByPhase: ReadonlyMap<string, number>;
  readonly nodesByHealth: ReadonlyMap<string, number>;
  readonly rolloutsByPhase: ReadonlyMap<string, number>;
  readonly repairsByPhase: ReadonlyMap<string, number>;
  /** Nodes that are ill for long enough and are not repaired, by why. */
  readonly remediationHeld: ReadonlyMap<string, number>;
  readonly liveSessions: number;
  readonly outstandingNodes: number;
  readonly wakesSent: number;
  readonly isRestoredFromBackup: boolean;
  readonly storeRevision: number;
  readonly isBusConnected: boolean;
}

/** Totals since the start that others keep: heartbeats, reports, fold time; by metric name without the prefix. */
export type Totals = () => Readonly<Record<string, { readonly help: string; readonly value: number }>>;

export interface Metrics {
  readonly contentType: string;
  text(): Promise<string>;
  close(): void;
}

export function createMetrics(parts: {
  readonly census: () => Census;
  readonly totals: Totals;
  readonly liveCalls: () => number;
}): Metrics {
  const registry = new Registry();
  /** One census per scrape: it looks at every node. */
  let census: Census | undefined;
  const current = (): Census => (census ??= parts.census());
  const loop = monitorEventLoopDelay({ resolution: 20 });
  loop.enable();
  const gauge = (name: string, help: string, collect: (gauge: Gauge) => void, labelNames: string[] = []): void => {
    registry.registerMetric(
      new Gauge({
        name: `drover_${name}`,
        help,
        labelNames,
        registers: [],
        collect() {
          this.reset();
          collect(this);
        },
      }),
    );
  };
  const counts = (name: string, help: string, label: string, read: (census: Census) => ReadonlyMap<string, number>): void =>
    gauge(
      name,
      help,
      (metric) => {
        for (const [value, count] of read(current())) metric.set({ [label]: value }, count);
      },
      [label],
    );
  const single = (name: string, help: string, read: (census: Census) => number): void =>
    gauge(name, help, (metric) => metric.set(read(current())));

  counts("nodes", "Nodes by phase.", "phase", ({ nodesByPhase }) => nodesByPhase);
  counts("node_health", "Nodes by verdict.", "verdict", ({ nodesByHealth }) => nodesByHealth);
  counts("rollouts", "Rollouts by phase.", "phase", ({ rolloutsByPhase }) => rolloutsByPhase);
  counts("repairs", "Repairs by phase; of those that ended, the last three of each node.", "phase", ({ repairsByPhase }) => repairsByPhase);
  counts(
    "remediation_held_nodes",
    "Unhealthy nodes that are not repaired without being asked, by why: TooManyUnhealthy is the stop from 30 % of a set on.",
    "reason",
    ({ remediationHeld }) => remediationHeld,
  );
  single("sessions", "Nodes with a session open.", ({ liveSessions }) => liveSessions);
  single("nodes_outstanding", "Nodes that have not acted on what was decided for them.", ({ outstandingNodes }) => outstandingNodes);
  single("wakes_sent_total", "Wake-up hints sent since the start.", ({ wakesSent }) => wakesSent);
  single("restored_from_backup", "1 while decisions stand still because nodes know more than the store.", ({ isRestoredFromBackup }) =>
    isRestoredFromBackup ? 1 : 0,
  );
  single("store_revision", "Revision of the store that decisions are read at.", ({ storeRevision }) => storeRevision);
  single("bus_connected", "1 while NATS is connected.", ({ isBusConnected }) => (isBusConnected ? 1 : 0));
  gauge("rpc_streams", "Open gRPC streams.", (metric) => metric.set(parts.liveCalls()));
  gauge("event_loop_lag_seconds", "Event loop delay since the last scrape, 99th percentile.", (metric) => {
    metric.set(Number.isNaN(loop.percentile(99)) ? 0 : loop.percentile(99) / 1e9);
    loop.reset();
  });
  gauge("process_resident_bytes", "Resident memory.", (metric) => metric.set(process.memoryUsage.rss()));
  gauge("process_cpu_seconds_total", "CPU time, user and system.", (metric) => {
    const { user, system } = process.cpuUsage();
    metric.set((user + system) / 1e6);
  });
  gauge("build_info", "1, with the version as label.", (metric) => metric.set({ version }, 1), ["version"]);
  for (const [name, { help }] of Object.entries(parts.totals()))
    gauge(name, help, (metric) => metric.set(parts.totals()[name]?.value ?? 0));

  return {
    contentType: registry.contentType,
    text: () => {
      census = parts.census();
      return registry.metrics();
    },
    close: () => loop.disable(),
  };
}
