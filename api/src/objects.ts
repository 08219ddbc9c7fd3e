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
  }),
  status: z.strictObject({ revision: digest.optional() }).optional(),
});
export type NodeProfile = z.infer<typeof nodeProfile>;

const intOrPercent = z.union([
  z.int().min(1),
  z.string().regex(/^([1-9]\d?|100)%$/, "must be a number from 1, or a percentage from 1% to 100%"),
]);

const strategy = z.strictObject({
  maxUnavailable: intOrPercent.default(1).describe("How many nodes may be in change or broken at once."),
  soak: duration.default("0s").describe("How long a changed node must stay right before it counts as done."),
  progressDeadline: duration.default("10m").describe("How long a node may take before it counts as failed."),
  failureBudget: z.int().min(0).default(0).describe("How many failed nodes are borne before the rollout stops."),
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

const rollout = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("Rollout"),
  metadata,
  spec: z.strictObject({
    nodeSet: name,
    profile: name,
    revision: digest.describe("Content digest of the profile it moves to."),
    strategy,
  }),
  status: z
    .strictObject({
      phase: z.enum(["Pending", "Progressing", "Stopped", "Complete", "Superseded"]),
      reason: z.string(),
      message: z.string(),
      total: z.int(),
      updated: z.int(),
      inChange: z.int(),
      failed: z.int(),
      waiting: z
        .array(z.strictObject({ node: z.string(), reason: z.string(), message: z.string() }))
        .describe("Why each node that does not move does not."),
      startedAt: z.string().optional(),
      finishedAt: z.string().optional(),
      observedGeneration: z.int(),
    })
    .optional(),
});
export type Rollout = z.infer<typeof rollout>;

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
  ImageLock: { schema: imageLock, plural: "imagelocks", shortNames: ["il", "lock", "locks"], isApplicable: true },
  JoinToken: { schema: joinToken, plural: "jointokens", shortNames: ["jt", "token", "tokens"], isApplicable: false },
} as const;

export type Kind = keyof typeof kinds;
export type DroverObject = NodeProfile | NodeSet | Node | Cluster | Rollout | ImageLock | JoinToken;
