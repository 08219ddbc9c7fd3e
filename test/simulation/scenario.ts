/** What happens in a run besides what the product does: the objects that are applied, and how often which fault strikes. */
import type { ImageLock, NodeProfile, NodeSet } from "@drover/api";

export type FaultKind =
  | "agentKilled"
  | "agentKilledInPlan"
  | "machineRebooted"
  /** Its power goes while a plan is applied there, or its network for minutes. */
  | "machineRebootedInPlan"
  | "nodeCutOffInPlan"
  /** A plan that the node was sent before comes once more. */
  | "planReplayed"
  | "coordinatorKilled"
  | "busNoisy"
  | "busDown"
  | "busLost"
  | "sessionCut"
  | "nodeCutOff"
  | "drift"
  /** That only a restart mends: it asks for a slot. */
  | "driftAboveLive"
  /** A whole zone is cut off, and comes back. */
  | "zoneSilent"
  /** A runtime no longer answers CRI; only a restart of its unit mends it. */
  | "runtimeSick"
  /** An operator asks for a repair of a node, sick or not. */
  | "repairAsked"
  | "clockJump";

export interface Scenario {
  readonly name: string;
  readonly maxUnavailable: number;
  /** Nodes are spread over so many zones, of which each may have so many in change, in waves; left out: there are none. */
  readonly zones?: { readonly count: number; readonly maxUnavailable: number };
  /** Nodes that are unhealthy are repaired unasked. */
  readonly isRemediated?: boolean;
  /** Virtual minutes after the start at which the next revision of the profile is applied; the first is there from the start. */
  readonly changesAtMinutes: readonly number[];
  /** Faults strike from the start until this minute; then everything is whole again. */
  readonly faultsUntilMinute: number;
  /** Faults an hour. */
  readonly faultsPerHour: Readonly<Partial<Record<FaultKind, number>>>;
  /** How often agents look for drift; each a little more or less. */
  readonly driftScanMinutes: number;
  /** When the faults end, somebody also puts back what only a restart would mend: nobody waits the hour until a node gets its next slot. */
  readonly isDriftPutBack?: boolean;
  /** How long after the last change and fault everything may take to be in sync, in virtual minutes. */
  readonly convergeWithinMinutes: number;
}

/** Nothing goes wrong but the changes of the profile. */
export const calm = (maxUnavailable: number): Scenario => ({
  name: "calm",
  maxUnavailable,
  changesAtMinutes: [3],
  faultsUntilMinute: 0,
  faultsPerHour: {},
  driftScanMinutes: 10,
  convergeWithinMinutes: 40,
});

/** Everything goes wrong that can, in half an hour of three revisions. */
export const stormy: Scenario = {
  name: "stormy",
  maxUnavailable: 5,
  changesAtMinutes: [6, 16],
  faultsUntilMinute: 25,
  faultsPerHour: {
    agentKilled: 60,
    agentKilledInPlan: 60,
    machineRebooted: 20,
    machineRebootedInPlan: 12,
    nodeCutOffInPlan: 12,
    planReplayed: 60,
    coordinatorKilled: 12,
    busNoisy: 12,
    busDown: 6,
    busLost: 3,
    sessionCut: 60,
    nodeCutOff: 30,
    drift: 60,
    clockJump: 12,
  },
  driftScanMinutes: 10,
  convergeWithinMinutes: 120,
};

/** The same at the size of a fleet, in less time. */
export const stormyFleet = (maxUnavailable: number): Scenario => ({
  ...stormy,
  name: "stormy fleet",
  maxUnavailable,
  changesAtMinutes: [0.75],
  faultsUntilMinute: 3,
  driftScanMinutes: 2,
  faultsPerHour: { ...stormy.faultsPerHour, agentKilled: 600, agentKilledInPlan: 600, sessionCut: 300, nodeCutOff: 300, drift: 600 },
});

/** Five zones with a budget each, in waves: zones fall silent as a whole, and programs change what only a restart mends. */
export const zoned: Scenario = {
  ...stormy,
  name: "zoned",
  maxUnavailable: 8,
  zones: { count: 5, maxUnavailable: 2 },
  driftScanMinutes: 3,
  faultsPerHour: { ...stormy.faultsPerHour, busLost: 0, busDown: 3, driftAboveLive: 20, zoneSilent: 8 },
};

/** Zones again, and machines whose runtime falls sick: they are repaired unasked and when operators ask, while revisions roll out. */
export const ailing: Scenario = {
  ...zoned,
  name: "ailing",
  isRemediated: true,
  faultsPerHour: { ...zoned.faultsPerHour, zoneSilent: 4, runtimeSick: 20, repairAsked: 20 },
};

/** The same on ten to thirty machines, faster: what takes its time in a large fleet is cut short, and budgets are as tight as they can be. */
export function brief(scenario: Scenario): Scenario {
  return {
    ...scenario,
    name: `brief ${scenario.name}`,
    maxUnavailable: 3,
    ...(scenario.zones === undefined ? {} : { zones: { count: 3, maxUnavailable: 2 } }),
    changesAtMinutes: [2, 5],
    faultsUntilMinute: 8,
    faultsPerHour: Object.fromEntries(Object.entries(scenario.faultsPerHour).map(([kind, perHour]) => [kind, perHour * 1.5])),
    driftScanMinutes: 2,
    isDriftPutBack: true,
    convergeWithinMinutes: 75,
  };
}

/** Those that the command and campaigns know by name. @param agents some take their budget from the fleet's size */
export function scenarios(agents: number): readonly Scenario[] {
  const budget = Math.max(5, Math.floor(agents / 5));
  return [calm(budget), stormy, zoned, ailing, brief(stormy), brief(zoned), brief(ailing), stormyFleet(budget)];
}

export function commandOf({
  seed,
  agents,
  scenario,
}: {
  readonly seed: number;
  readonly agents: number;
  readonly scenario: string;
}): string {
  return `node test/simulation/main.ts --seed ${seed} --agents ${agents} --scenario '${scenario}'`;
}

export const kernelDefaults: Readonly<Record<string, string>> = {
  "net.core.somaxconn": "4096",
  "net.ipv4.tcp_keepalive_time": "7200",
  "vm.max_map_count": "65530",
};

const digestOf = (index: number): string => `sha256:${index.toString(16).padStart(64, "0")}`;

/** All that the registry has. */
export const imageCatalog = [3_000_000, 20_000_000, 45_000_000, 8_000_000, 60_000_000, 12_000_000].map((size, index) => ({
  name: `registry.example/app-${index}:1.${index}`,
  digest: digestOf(index + 1),
  size,
}));

export const PROFILE = "worker";
/** What can cut a node off is undone when nobody has confirmed it by then. */
export const CONFIRM_WITHIN_MS = 60_000;
export const NODE_SET = "workers";
export const ZONE_LABEL = "topology.kubernetes.io/zone";
export const RUNTIME_UNIT = "containerd.service";
const PROBE_PORT = 10_250;

export function zoneOf(index: number, { zones }: Scenario): string | undefined {
  return zones === undefined ? undefined : `zone-${index % zones.count}`;
}
const LOCK = "worker-images";

/** What an operator applies for the given revision, in this order; each differs from the one before in all three steps. */
export function manifests(
  revision: number,
  { maxUnavailable, zones, isRemediated }: Pick<Scenario, "maxUnavailable" | "zones" | "isRemediated">,
): readonly (NodeProfile | NodeSet | ImageLock)[] {
  const apiVersion = "drover.dev/v1alpha1";
  const images = [0, 1, 2].map((offset) => ({ ...imageCatalog[(revision + offset) % imageCatalog.length]!, pinned: true }));
  return [
    { apiVersion, kind: "ImageLock", metadata: { name: LOCK }, spec: { images } },
    {
      apiVersion,
      kind: "NodeProfile",
      metadata: { name: PROFILE },
      spec: {
        sysctl: {
          values: {
            "net.core.somaxconn": 8192 + revision,
            "net.ipv4.tcp_keepalive_time": 600 + revision,
            "vm.max_map_count": 262_144 + revision,
          },
        },
        containerd: {
          sandboxImage: `registry.k8s.io/pause:3.${9 + revision}`,
          maxConcurrentDownloads: 4 + revision,
          registries: [{ host: "registry.example", mirrors: [{ url: `http://10.0.0.${1 + revision}:5000` }] }],
        },
        images: { lock: LOCK, maxParallel: 2 },
      },
    },
    {
      apiVersion,
      kind: "NodeSet",
      metadata: { name: NODE_SET },
      spec: {
        selector: { matchLabels: { pool: "workers" } },
        profile: PROFILE,
        strategy: {
          maxUnavailable,
          soak: "1s",
          progressDeadline: "30m",
          confirmDeadline: `${CONFIRM_WITHIN_MS / 1000}s`,
          failureBudget: 0,
          ...(zones === undefined
            ? {}
            : {
                canary: { nodes: 1 },
                waves: ["20%", "60%"],
                budgets: [{ topologyKey: ZONE_LABEL, maxUnavailable: zones.maxUnavailable }],
              }),
        },
        ...(zones === undefined ? {} : { probePort: PROBE_PORT }),
        ...(isRemediated === true
          ? {
              remediation: {
                enabled: true,
                unhealthyFor: "1m",
                rungs: ["RestartUnits", "Reapply", "HandOver"],
                units: [RUNTIME_UNIT],
                topologyKey: ZONE_LABEL,
                allowControlPlaneDowntime: false,
              },
            }
          : {}),
      },
    },
  ];
}
