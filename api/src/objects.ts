/**
 * The objects an operator writes and reads, as zod schemas: the one source of their types, their validation and their JSON Schema.
 * apiVersion drover.dev/v1alpha1; metadata, spec, status as in Kubernetes.
 */
import { z } from "zod";
import { parseBytes } from "./quantity.ts";

export const API_VERSION = "drover.dev/v1alpha1";

const name = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/,
    "must be 1 to 63 lower-case letters, digits, '-' or '.', starting and ending with a letter or digit",
  )
  .describe("Unique within the kind.");
const labelKey = z
  .string()
  .regex(
    /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
    "is no label key as Kubernetes knows them",
  );
const labelValue = z.string().regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/, "is no label value as Kubernetes knows them");
const labels = z.record(labelKey, labelValue);
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, "must be sha256: and 64 hex digits");
const absolutePath = z
  .string()
  .regex(/^\/[^\0]*$/, "must be an absolute path")
  .refine((path) => !path.split("/").includes(".."), "must not contain '..'");
const bytes = z
  .union([
    z.int().min(0),
    z.string().regex(/^\d+(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$/, "must be bytes: a number, or one with Ki, Mi, Gi, Ti, k, M, G or T"),
  ])
  .refine((quantity) => Number.isSafeInteger(parseBytes(quantity)), "must be less than 8 PiB")
  .describe("Bytes, as a number or with a Kubernetes suffix.");
const httpUrl = z.url({ protocol: /^https?$/, error: "must be an http or https URL" });
const duration = z
  .string()
  .regex(/^(\d+(ms|s|m|h|d))+$/, "must be a duration such as 30s, 5m or 1h30m")
  .describe("Such as 30s, 5m, 1h30m.");

const metadata = z.strictObject({
  name,
  labels: labels.optional(),
  annotations: z.record(z.string(), z.string().max(4096)).optional(),
  uid: z.string().optional().describe("Given by the coordinator; of a Node its node id."),
  resourceVersion: z.int().optional().describe("Given by the coordinator; rises with each write."),
  generation: z.int().optional().describe("Given by the coordinator; rises with each change of spec."),
  creationTimestamp: z.string().optional().describe("Given by the coordinator."),
});

const condition = z.strictObject({
  type: z.string(),
  status: z.enum(["True", "False", "Unknown"]),
  reason: z.string(),
  message: z.string(),
  lastTransitionTime: z.string(),
  observedGeneration: z.int().optional(),
});
export type Condition = z.infer<typeof condition>;

const selector = z
  .strictObject({
    matchLabels: labels.optional(),
    matchExpressions: z
      .array(
        z.strictObject({
          key: labelKey,
          operator: z.enum(["In", "NotIn", "Exists", "DoesNotExist"]),
          values: z.array(labelValue).optional(),
        }),
      )
      .optional(),
  })
  .refine(
    (s) => Object.keys(s.matchLabels ?? {}).length + (s.matchExpressions?.length ?? 0) > 0,
    "is empty: an empty selector is an error, not 'all'",
  );
export type Selector = z.infer<typeof selector>;

const sysctlSection = z.strictObject({
  values: z.record(z.string(), z.union([z.string(), z.int()])).describe("Sysctl key in dot form to value."),
});

const containerdSection = z.strictObject({
  sandboxImage: z.string().min(1).optional().describe("Image of the pod sandbox."),
  systemdCgroup: z.boolean().optional().describe("Whether runc uses systemd's cgroup driver."),
  rootDir: absolutePath.optional().describe("Where containerd keeps its data."),
  stateDir: absolutePath.optional().describe("Where containerd keeps its run-time state."),
  requiredMount: absolutePath.optional().describe("rootDir is used only when this is mounted."),
  maxConcurrentDownloads: z.int().min(1).max(100).optional().describe("Layers fetched at once for one image."),
  restrictOomScoreAdj: z.boolean().optional().describe("OOM score adjustments stay within what containerd itself may set."),
  defaultRuntime: z.string().min(1).optional().describe("Runtime of pods that name none."),
  runtimes: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(/^[a-z0-9][-a-z0-9_.]*$/, "must be lower-case letters, digits, '-', '_' or '.', starting with a letter or digit")
          .describe("Handler name, as a RuntimeClass names it."),
        runtimeType: z.string().min(1).default("io.containerd.runc.v2"),
        options: z.record(z.string(), z.union([z.string(), z.int(), z.boolean()])).default({}),
      }),
    )
    .optional(),
  registries: z
    .array(
      z.strictObject({
        host: z
          .string()
          .regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?(:\d{1,5})?|_default)$/i, "must be a registry host such as docker.io or 10.0.0.5:5000"),
        server: httpUrl.optional().describe("Tried when no mirror answers."),
        mirrors: z
          .array(
            z.strictObject({
              url: httpUrl,
              capabilities: z.array(z.enum(["pull", "resolve", "push"])).optional(),
              skipVerify: z.boolean().optional().describe("The mirror's certificate is not verified."),
              caPem: z.string().optional().describe("PEM of the CA that signed the mirror's certificate."),
              overridePath: z.boolean().optional().describe("The URL's path replaces /v2."),
            }),
          )
          .min(1),
      }),
    )
    .optional(),
});

const lockedImage = z.strictObject({
  name: z
    .string()
    .regex(
      /^[a-z0-9][a-z0-9.:_/-]*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/,
      "must be a full reference with a tag, such as registry.k8s.io/pause:3.9",
    ),
  digest,
  size: bytes.describe("Compressed size of what is pulled, in bytes or with a Kubernetes suffix."),
  pinned: z.boolean().default(true).describe("Kept from the kubelet's garbage collection."),
  archive: absolutePath.optional().describe("OCI archive on the node to import instead of pulling."),
});

const imagesSection = z.strictObject({
  lock: name.optional().describe("An ImageLock by name."),
  images: z.array(lockedImage).optional().describe("Images here and now, besides the lock's."),
  maxParallel: z.int().min(1).max(64).optional().describe("Pulls under way at once."),
  maxParallelPerRegistry: z.int().min(1).max(64).optional().describe("Pulls under way at once from one registry."),
  minFree: bytes.optional().describe("What must stay free on containerd's file system."),
});

const binary = z.strictObject({
  name: name.describe("For people and progress: kubeadm, cni-plugins."),
  source: z.union([httpUrl, absolutePath]).describe("An http or https URL, or an absolute path on the node."),
  digest: digest.describe("Of what lies at source."),
  size: bytes.optional().describe("Of what lies at source, in bytes or with a Kubernetes suffix."),
  files: z
    .array(
      z.strictObject({
        member: z
          .string()
          .regex(/^[^\0/][^\0]*$/, "must be a relative path")
          .refine((path) => !path.split("/").includes(".."), "must not contain '..'")
          .optional()
          .describe("Path inside the tar archive that source is; left out: source is the file itself."),
        target: absolutePath.describe("Where it is reached from then on, such as /usr/local/bin/kubeadm."),
      }),
    )
    .min(1),
  restarts: z
    .array(z.string().regex(/^[A-Za-z0-9:_@][A-Za-z0-9:_.@-]{0,200}\.service$/, "must be a service unit such as kubelet.service"))
    .optional()
    .describe("Units that are restarted after a switch when they are active."),
});

const kernelModulesSection = z.strictObject({
  names: z
    .array(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,55}$/, "must be a module name as modprobe takes it, such as br_netfilter"))
    .min(1)
    .describe("Loaded now and at each boot."),
});

const swapSection = z.strictObject({
  mode: z.enum(["Off", "Leave"]).describe("Off: no swap is in use, and none comes back with a boot. Leave: as the machine has it."),
});

const kubeletSection = z.strictObject({
  configuration: z.record(z.string(), z.json()).optional().describe("Fields of KubeletConfiguration, without apiVersion and kind."),
  parallelImagePulls: z.boolean().default(true).describe("Pulls of different images do not wait for each other."),
  maxParallelImagePulls: z.int().min(1).max(1000).optional().describe("Their bound, where the kubelet's version knows one (from 1.27)."),
});

const taint = z.strictObject({
  key: labelKey,
  value: labelValue.default(""),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
});
export type TaintEntry = z.infer<typeof taint>;

const kubeadmSection = z.strictObject({
  nodeLabels: labels.optional().describe("Labels of the Node in its cluster, beside drover.dev/node-set."),
  taints: z.array(taint).optional().describe("Taints of the Node in its cluster."),
  criSocket: z
    .string()
    .regex(/^unix:\/\/\/[^\0\s]+$/, "must be a socket such as unix:///run/containerd/containerd.sock")
    .optional(),
  kubeletExtraArgs: z
    .record(z.string().regex(/^[a-z][a-z0-9-]*$/, "must be a flag of the kubelet without dashes before it"), z.string())
    .optional()
    .describe("Flags of the kubelet, without dashes before them."),
  ignorePreflightErrors: z.array(z.string().regex(/^[A-Za-z0-9._-]{1,200}$/, "must be a name as kubeadm's preflight prints it")).optional(),
  skipPhases: z
    .array(z.string().regex(/^[a-z0-9/-]{1,100}$/, "must be a phase of kubeadm join"))
    .optional()
    .describe("Phases of kubeadm join."),
});

const hostAndPort = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?):\d{1,5}$/, "must be host:port, such as 10.0.0.5:6443")
  .refine((text) => Number(text.slice(text.lastIndexOf(":") + 1)) <= 65_535, "has a port above 65535");

const probe = z
  .strictObject({
    name,
    http: z
      .strictObject({
        url: httpUrl.describe("Asked on the node itself, such as http://127.0.0.1:10248/healthz; any status from 200 to 399 passes."),
      })
      .optional(),
    tcp: z.strictObject({ port: z.int().min(1).max(65535).describe("On the node's loopback.") }).optional(),
    timeout: duration.default("2s"),
  })
  .refine((one) => (one.http === undefined) !== (one.tcp === undefined), "must have either http or tcp");

const nodeProfile = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("NodeProfile"),
  metadata,
  spec: z.strictObject({
    binaries: z.array(binary).optional().describe("Programs by digest, such as kubeadm, kubelet, CNI plugins."),
    kernelModules: kernelModulesSection.optional().describe("Kernel modules that must be there."),
    swap: swapSection.optional().describe("Whether the machine may swap."),
    sysctl: sysctlSection.optional().describe("Kernel parameters."),
    containerd: containerdSection.optional().describe("Configuration of containerd; what is left out stays as it is."),
    images: imagesSection.optional().describe("Images that must be present."),
    kubelet: kubeletSection.optional().describe("Configuration of the kubelet; what is left out stays as it is."),
    kubeadm: kubeadmSection.optional().describe("How nodes of a set with a cluster join it."),
    probes: z
      .array(probe)
      .max(16)
      .optional()
      .describe("Asked by the node after a change and with each drift scan; each is condition Probe-NAME, and a gate of rollouts."),
  }),
  status: z.strictObject({ revision: digest.optional() }).optional(),
});
export type NodeProfile = z.infer<typeof nodeProfile>;

const intOrPercent = z.union([
  z.int().min(1),
  z.string().regex(/^([1-9]\d?|100)%$/, "must be a number from 1, or a percentage from 1% to 100%"),
]);

const drain = z.strictObject({
  from: z.enum(["restart", "drain", "reboot", "never"]).default("drain").describe("The least impact for which workloads leave first."),
  deadline: duration.default("10m").describe("How long a drain may take before the node is left for later."),
  revisitAfter: duration.default("5m").describe("When a node that could not be drained is tried again."),
});

const gates = z.strictObject({
  kubernetesReady: z.boolean().default(true).describe("The node is Ready in its cluster's own API after the change, if it is in one."),
  conditions: z.array(z.string().min(1)).optional().describe("Conditions of the node that must be True, told after the change."),
  webhook: z
    .strictObject({ url: httpUrl, timeout: duration.default("10s") })
    .optional()
    .describe("Asked by POST when a wave is done: 2xx lets the next begin; anything else is asked again."),
});

const strategy = z.strictObject({
  maxUnavailable: intOrPercent
    .default(1)
    .describe("How many nodes may be in change or broken at once. 100% only where every change is live, and with the count confirmed."),
  soak: duration.default("0s").describe("How long a changed node must stay right before it counts as done."),
  progressDeadline: duration.default("10m").describe("How long a node may take before it counts as failed."),
  failureBudget: z.int().min(0).default(0).describe("How many failed nodes are borne before the rollout stops."),
  canary: z
    .strictObject({
      nodes: intOrPercent.default(1),
      selector: selector.optional().describe("Taken from these first."),
      soak: duration.optional().describe("In place of soak."),
    })
    .optional()
    .describe("The first wave."),
  waves: z
    .array(intOrPercent)
    .max(100)
    .optional()
    .describe("How far each wave reaches, in nodes or percent of the whole set, rising; what is left is the last wave."),
  budgets: z
    .array(z.strictObject({ topologyKey: labelKey, maxUnavailable: intOrPercent.default(1) }))
    .max(16)
    .optional()
    .describe(
      "Besides maxUnavailable, for each value of a label of nodes, such as topology.kubernetes.io/zone; percent is of the nodes with that value.",
    ),
  exclusive: labelKey.optional().describe("Nodes with two different values of this label are never in change at once."),
  order: z
    .strictObject({ key: labelKey, values: z.array(labelValue).min(1) })
    .optional()
    .describe("Nodes with these values of the label first, in this order; the others after them."),
  windows: z.array(name).optional().describe("MaintenanceWindows by name: nodes begin to change only while one of them is open."),
  approvals: z
    .array(z.int().min(1))
    .optional()
    .describe("Waves that wait for an approver, counted from 1; the canary is wave 1 where there is one."),
  drain: drain.optional(),
  gates: gates.optional(),
  confirmDeadline: duration
    .optional()
    .describe(
      "A change that can cut the node off is undone by the node itself when it does not reach the coordinator for this long after it; 2m when left out.",
    ),
});

const RUNGS = ["RestartUnits", "Reapply", "Repull", "Rejoin", "Reboot", "HandOver"] as const;
const rungs = z.array(z.enum(RUNGS)).min(1);

const remediation = z.strictObject({
  enabled: z.boolean().default(false),
  unhealthyFor: duration.default("10m").describe("How long a node must be unhealthy before it is repaired."),
  rungs: rungs.default(["RestartUnits", "Reapply", "Repull", "Rejoin", "HandOver"]).describe("Tried one after the other."),
  units: z.array(z.string()).default(["containerd.service", "kubelet.service"]).describe("What RestartUnits restarts."),
  topologyKey: labelKey.default("topology.kubernetes.io/zone").describe("One repair at a time in each value of this label."),
  allowControlPlaneDowntime: z.boolean().default(false).describe("Also a single control plane is repaired."),
});

const nodeSet = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("NodeSet"),
  metadata,
  spec: z.strictObject({
    selector: selector.describe("Which nodes belong to the set, by their labels; an empty one is an error."),
    profile: name.describe("A NodeProfile by name."),
    strategy: strategy.prefault({}),
    cluster: name.optional().describe("A Cluster by name: the set's nodes join it."),
    after: z.array(name).optional().describe("NodeSets by name: this one's rollout begins when theirs are complete."),
    revision: digest
      .optional()
      .describe("Holds the set at this earlier revision of its profile, as undo does; left out: what the profile says now."),
    remediation: remediation.optional().describe("Repairs without being asked; off when left out."),
    probePort: z.int().min(1).max(65535).optional().describe("TCP port that is asked when a node falls silent."),
  }),
  status: z
    .strictObject({
      observedGeneration: z.int(),
      nodes: z.int(),
      updated: z.int(),
      inSync: z.int(),
      revision: z.string(),
      conditions: z.array(condition),
    })
    .optional(),
});
export type NodeSet = z.infer<typeof nodeSet>;

const change = z.strictObject({ path: z.string(), from: z.string(), to: z.string(), impact: z.string(), note: z.string() });

const node = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Node"),
  metadata,
  spec: z.strictObject({}).optional(),
  status: z
    .strictObject({
      phase: z.string().describe("A summary for people: Pending, Applying, InSync, Failed, Drifted, Unknown, Revoked."),
      health: z.enum(["healthy", "unhealthy", "unknown"]),
      healthReason: z.string(),
      lastHeartbeatTime: z.string().optional(),
      desiredGeneration: z.int(),
      observedGeneration: z.int(),
      planEpoch: z.int(),
      desiredRevision: z.string(),
      enforcedRevision: z.string(),
      nodeSet: z.string(),
      rollout: z.string(),
      conditions: z.array(condition),
      steps: z.array(
        z.strictObject({
          step: z.string(),
          outcome: z.enum(["pending", "running", "unchanged", "changed", "failed"]),
          reason: z.string(),
          message: z.string(),
          changes: z.array(change),
          outputTail: z.string().optional(),
          outputDigest: z.string().optional(),
          at: z.string().optional(),
        }),
      ),
      drift: z.array(z.strictObject({ step: z.string(), changes: z.array(change), repaired: z.boolean(), at: z.string() })),
      images: z.array(z.strictObject({ name: z.string(), digest: z.string(), size: z.int(), pinned: z.boolean() })).optional(),
      facts: z.record(z.string(), z.unknown()).optional(),
      kubernetes: z
        .strictObject({
          cluster: name,
          nodeName: z.string(),
          ready: z.enum(["True", "False", "Unknown"]).describe("As the cluster's own API says."),
          reason: z.string(),
          message: z.string(),
          kubeletVersion: z.string(),
        })
        .optional()
        .describe("The Node of this machine in its cluster; absent: it is in none that is known."),
    })
    .optional(),
});
export type Node = z.infer<typeof node>;

const cluster = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Cluster"),
  metadata,
  spec: z.strictObject({
    endpoint: hostAndPort.describe("Where nodes reach the API server, host:port."),
    caCertHashes: z.array(digest).min(1).describe("Of the cluster's CA, as kubeadm's discovery-token-ca-cert-hash."),
  }),
  status: z
    .strictObject({
      phase: z.enum(["Pending", "Available", "Unavailable"]).describe("Whether its API answers us."),
      reason: z.string(),
      message: z.string(),
      kubernetesVersion: z.string(),
      nodes: z.int().describe("Nodes in the cluster that are ours."),
      readyNodes: z.int(),
      conditions: z.array(condition),
    })
    .optional(),
});
export type Cluster = z.infer<typeof cluster>;

const impactName = z.enum(["none", "live", "restart", "drain", "reboot"]);
export type ImpactName = z.infer<typeof impactName>;

const rollout = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Rollout"),
  metadata,
  spec: z.strictObject({
    nodeSet: name,
    profile: name,
    revision: digest.describe("Content digest of the profile it moves to."),
    strategy,
    startedBy: z.string().optional().describe('As in the audit log: "operator:NAME".'),
    undoOf: name.optional().describe("The rollout that this one takes back."),
    paused: z.boolean().optional(),
    aborted: z.boolean().optional(),
    promotedWave: z.int().optional().describe("Waves up to this one are neither soaked nor approved; their gates still hold."),
    approvals: z
      .array(z.strictObject({ wave: z.int(), digest, by: z.string(), at: z.string() }))
      .optional()
      .describe("Each bound to the digest of revision, strategy, wave and impact that the approver saw."),
    confirmedNodes: z.int().optional().describe("The count that an operator typed; needed where maxUnavailable is 100%."),
    retriedAt: z.string().optional().describe("Nodes that failed before this are tried again."),
  }),
  status: z
    .strictObject({
      phase: z.enum(["Pending", "Progressing", "Paused", "Stopped", "Aborted", "Complete", "Superseded"]),
      reason: z.string(),
      message: z.string(),
      total: z.int(),
      updated: z.int(),
      inChange: z.int(),
      failed: z.int(),
      waiting: z
        .array(z.strictObject({ node: z.string(), reason: z.string(), message: z.string() }))
        .describe("Why each node that does not move does not; 200 at most."),
      waitingCounts: z.record(z.string(), z.int()).optional().describe("Nodes that wait, by reason."),
      waves: z
        .array(
          z.strictObject({
            name: z.string().describe('"canary" or "wave N".'),
            nodes: z.int(),
            updated: z.int(),
            phase: z.enum(["Pending", "AwaitingApproval", "Progressing", "Soaking", "Gated", "Complete"]),
            approvalDigest: digest.optional().describe("What an approval of this wave must name."),
          }),
        )
        .optional(),
      impact: z
        .strictObject({
          bound: impactName,
          steps: z.array(z.strictObject({ step: z.string(), impact: impactName, nodes: z.int() })),
          worst: z.array(z.strictObject({ topologyKey: z.string(), value: z.string(), nodes: z.int(), of: z.int() })),
        })
        .optional()
        .describe(
          "The most that the rollout can disturb, worked out when it began; worst: for each budget's key the value hit hardest at once.",
        ),
      fingerprints: z
        .array(z.strictObject({ step: z.string(), error: z.string(), isNew: z.boolean(), nodes: z.array(z.string()) }))
        .optional()
        .describe("Failures that look alike; isNew: no node of the set failed so before this rollout."),
      estimatedEnd: z.string().optional(),
      startedAt: z.string().optional(),
      finishedAt: z.string().optional(),
      observedGeneration: z.int(),
    })
    .optional(),
});
export type Rollout = z.infer<typeof rollout>;
export type RolloutStrategy = z.infer<typeof strategy>;
export const DEFAULT_CONFIRM_DEADLINE = "2m";
/** What holds where a strategy leaves them out. */
export const defaultDrain = drain.parse({});
export const defaultGates = gates.parse({});

const timeOfDay = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, "must be a time of day such as 22:30");
const instant = z.iso.datetime({ offset: true, error: "must be a time such as 2026-12-24T00:00:00+01:00" });

const maintenanceWindow = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("MaintenanceWindow"),
  metadata,
  spec: z.strictObject({
    timeZone: z.string().min(1).describe("IANA name such as Europe/Berlin."),
    weekly: z
      .array(
        z.strictObject({
          days: z.array(z.enum(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])).min(1),
          start: timeOfDay,
          duration: duration.describe("At most 7 days; may go past midnight."),
        }),
      )
      .optional()
      .describe("When it is open; left out: always but for freezes."),
    freezes: z
      .array(z.strictObject({ from: instant, to: instant, reason: z.string().min(1) }))
      .optional()
      .describe("When it is closed whatever else says it is open."),
  }),
  status: z.strictObject({ open: z.boolean(), message: z.string(), nextChange: z.string().optional() }).optional(),
});
export type MaintenanceWindow = z.infer<typeof maintenanceWindow>;

const repair = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Repair"),
  metadata,
  spec: z.strictObject({
    node: z.string().describe("Node id."),
    nodeName: z.string(),
    rungs,
    units: z.array(z.string()).optional().describe("What RestartUnits restarts."),
    reason: z.string(),
    requestedBy: z.string().describe('"operator:NAME", or "coordinator" for remediation.'),
    cancelled: z.boolean().optional(),
  }),
  status: z
    .strictObject({
      phase: z.enum(["Pending", "Running", "Checking", "Succeeded", "HandedOver", "Failed", "Cancelled"]),
      reason: z.string(),
      message: z.string(),
      rung: z.int().describe("Index of the rung that runs, or ran last; -1: none yet."),
      nextAt: z.string().optional().describe("When the next rung begins at the earliest."),
      attempts: z.array(
        z.strictObject({
          rung: z.enum(RUNGS),
          startedAt: z.string(),
          askedAt: z.string().optional().describe("From then on the node may have begun it."),
          doneAt: z.string().optional().describe("When it was done; only what was told after that says whether it helped."),
          endedAt: z.string().optional(),
          outcome: z.enum(["Running", "Helped", "DidNotHelp", "Failed"]),
          message: z.string(),
          evidence: z.string().optional().describe("Id of the bundle gathered before it."),
          generation: z.int().optional().describe("That Reapply or Rejoin gave the node."),
          bootId: z.string().optional().describe("Of the boot that Reboot ends."),
        }),
      ),
      finishedAt: z.string().optional(),
      clearedAt: z
        .string()
        .optional()
        .describe("When the node had been healthy for an hour after it: from then on it may be repaired again without being asked."),
    })
    .optional(),
});
export type Repair = z.infer<typeof repair>;
export type Rung = (typeof RUNGS)[number];

const imageLock = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("ImageLock"),
  metadata,
  spec: z.strictObject({ images: z.array(lockedImage).min(1) }),
  status: z.strictObject({ revision: digest.optional() }).optional(),
});
export type ImageLock = z.infer<typeof imageLock>;
export type LockedImageEntry = z.infer<typeof lockedImage>;

const joinToken = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("JoinToken"),
  metadata,
  spec: z.strictObject({ expiresAt: z.string(), labels: labels.optional(), description: z.string().optional() }),
  status: z.strictObject({ phase: z.enum(["Unused", "Used", "Expired"]), node: z.string().optional() }).optional(),
});
export type JoinToken = z.infer<typeof joinToken>;

/** Every kind: its schema, the names people may type for it, and whether `apply` takes it. */
export const kinds = {
  NodeProfile: { schema: nodeProfile, plural: "nodeprofiles", shortNames: ["np", "profile", "profiles"], isApplicable: true },
  NodeSet: { schema: nodeSet, plural: "nodesets", shortNames: ["ns", "set", "sets"], isApplicable: true },
  Node: { schema: node, plural: "nodes", shortNames: ["no"], isApplicable: false },
  Cluster: { schema: cluster, plural: "clusters", shortNames: ["cl"], isApplicable: true },
  Rollout: { schema: rollout, plural: "rollouts", shortNames: ["ro"], isApplicable: false },
  MaintenanceWindow: {
    schema: maintenanceWindow,
    plural: "maintenancewindows",
    shortNames: ["mw", "window", "windows"],
    isApplicable: true,
  },
  Repair: { schema: repair, plural: "repairs", shortNames: ["rp"], isApplicable: false },
  ImageLock: { schema: imageLock, plural: "imagelocks", shortNames: ["il", "lock", "locks"], isApplicable: true },
  JoinToken: { schema: joinToken, plural: "jointokens", shortNames: ["jt", "token", "tokens"], isApplicable: false },
} as const;

export type Kind = keyof typeof kinds;
export type DroverObject = NodeProfile | NodeSet | Node | Cluster | Rollout | MaintenanceWindow | Repair | ImageLock | JoinToken;
