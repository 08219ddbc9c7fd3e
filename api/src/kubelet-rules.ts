/**
 * What a kubelet section may say: fields of KubeletConfiguration (kubelet.config.k8s.io/v1beta1) with the release of Kubernetes that
 * knows them first (and last), and those that are somebody else's. A kubelet does not refuse a key that it does not know: it logs a
 * warning and starts without it (DecodeKubeletConfiguration of 1.20.2 falls back to lenient decoding). So it is refused here.
 *
 * A release that is told too late refuses a valid key; one that is told too early only leaves the key to the kubelet. What could not be
 * checked is therefore told early. Against what the rest was checked:
 * - SINCE_1_20, and what INSIDE gives to 1.20: exactly the fields of types.go of Kubernetes 1.20.2 (logging: of its component-base).
 *   They are tags in the 1.20.2 program as well, and no name of ADDED_LATER is.
 * - The names in ADDED_LATER: with those of 1.20 they are all of types.go in a state of kubernetes/kubernetes of 2026. Of the releases
 *   between, types.go itself was not at hand, so their numbers come from elsewhere:
 *   - the release whose feature gate of the field is new (Kubernetes' pages of its gates): memoryManagerPolicy, reservedMemory,
 *     memorySwap, cpuManagerPolicyOptions, seccompDefault, memoryThrottlingFactor, shutdownGracePeriodByPodPriority, tracing,
 *     topologyManagerPolicyOptions, enableSystemLogQuery, imageMaximumGCAge, imagePullCredentialsVerificationPolicy,
 *     preloadedImagesVerificationAllowlist;
 *   - release notes: enableProfilingHandler, enableDebugFlagsHandler, crashLoopBackOff, singleProcessOOMKill, the end of
 *     logging.sanitization;
 *   - pull requests and issues that name the release: localStorageCapacityIsolation (#111513), maxParallelImagePulls (#115220),
 *     containerRuntimeEndpoint and imageServiceEndpoint (#112136), userNamespaces (#130028), memoryReservationPolicy (#137584),
 *     tlsCurvePreferences (#137115);
 *   - pull requests by the time at which they were still open, which tells only that no earlier release has the field:
 *     registerWithTaints (#105437), flushFrequency, verbosity and vmodule of logging (#106090), podLogsDir (#112957), failCgroupV1
 *     (#126031), mergeDefaultEvictionSettings (#127577; nor is it in the notes of 1.32).
 * - Not checked, hence early: containerLogMaxWorkers and containerLogMonitorInterval (#114301 was reviewed as 1.29 froze, 1.30 is
 *   likely), logging.options (all that is known: not in 1.20.2), draManagerReconcilePeriod (#136946 is younger than 1.35, and was not
 *   seen merged), the signals of containerfs (not in 1.20.2). registerNode neither, but nobody may set it.
 */
import { didYouMean } from "./nearest.ts";

/** The fields of 1.20; what is older than that is not told apart. */
const SINCE_1_20 = [
  "enableServer staticPodPath syncFrequency fileCheckFrequency httpCheckFrequency staticPodURL staticPodURLHeader address port readOnlyPort",
  "tlsCertFile tlsPrivateKeyFile tlsCipherSuites tlsMinVersion rotateCertificates serverTLSBootstrap authentication authorization",
  "registryPullQPS registryBurst eventRecordQPS eventBurst enableDebuggingHandlers enableContentionProfiling healthzPort healthzBindAddress",
  "oomScoreAdj clusterDomain clusterDNS streamingConnectionIdleTimeout nodeStatusUpdateFrequency nodeStatusReportFrequency",
  "nodeLeaseDurationSeconds imageMinimumGCAge imageGCHighThresholdPercent imageGCLowThresholdPercent volumeStatsAggPeriod kubeletCgroups",
  "systemCgroups cgroupRoot cgroupsPerQOS cgroupDriver cpuManagerPolicy cpuManagerReconcilePeriod topologyManagerPolicy topologyManagerScope",
  "qosReserved runtimeRequestTimeout hairpinMode maxPods podCIDR podPidsLimit resolvConf runOnce cpuCFSQuota cpuCFSQuotaPeriod",
  "nodeStatusMaxImages maxOpenFiles contentType kubeAPIQPS kubeAPIBurst serializeImagePulls evictionHard evictionSoft",
  "evictionSoftGracePeriod evictionPressureTransitionPeriod evictionMaxPodGracePeriod evictionMinimumReclaim podsPerCore",
  "enableControllerAttachDetach protectKernelDefaults makeIPTablesUtilChains iptablesMasqueradeBit iptablesDropBit featureGates failSwapOn",
  "containerLogMaxSize containerLogMaxFiles configMapAndSecretChangeDetectionStrategy systemReserved kubeReserved reservedSystemCPUs",
  "showHiddenMetricsForVersion systemReservedCgroup kubeReservedCgroup enforceNodeAllocatable allowedUnsafeSysctls volumePluginDir",
  "providerID kernelMemcgNotification logging enableSystemLogHandler shutdownGracePeriod shutdownGracePeriodCriticalPods",
]
  .join(" ")
  .split(" ");

/** Minor releases of Kubernetes 1. */
const ADDED_LATER: Readonly<Record<string, number>> = {
  enableProfilingHandler: 21,
  enableDebugFlagsHandler: 21,
  memoryManagerPolicy: 21,
  reservedMemory: 21,
  cpuManagerPolicyOptions: 22,
  memorySwap: 22,
  seccompDefault: 22,
  memoryThrottlingFactor: 22,
  registerWithTaints: 23,
  registerNode: 23,
  shutdownGracePeriodByPodPriority: 23,
  tracing: 25,
  localStorageCapacityIsolation: 25,
  topologyManagerPolicyOptions: 26,
  maxParallelImagePulls: 27,
  containerRuntimeEndpoint: 27,
  imageServiceEndpoint: 27,
  enableSystemLogQuery: 27,
  imageMaximumGCAge: 29,
  containerLogMaxWorkers: 29,
  containerLogMonitorInterval: 29,
  podLogsDir: 30,
  failCgroupV1: 31,
  crashLoopBackOff: 32,
  singleProcessOOMKill: 32,
  mergeDefaultEvictionSettings: 33,
  imagePullCredentialsVerificationPolicy: 33,
  preloadedImagesVerificationAllowlist: 33,
  userNamespaces: 33,
  tlsCurvePreferences: 36,
  draManagerReconcilePeriod: 36,
  memoryReservationPolicy: 36,
};

/** Inside of what is no free mapping; a field that is not here is not looked into. */
const INSIDE: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  authentication: { x509: 20, webhook: 20, anonymous: 20 },
  "authentication.x509": { clientCAFile: 20 },
  "authentication.webhook": { enabled: 20, cacheTTL: 20 },
  "authentication.anonymous": { enabled: 20 },
  authorization: { mode: 20, webhook: 20 },
  "authorization.webhook": { cacheAuthorizedTTL: 20, cacheUnauthorizedTTL: 20 },
  logging: { format: 20, sanitization: 20, flushFrequency: 23, verbosity: 23, vmodule: 23, options: 21 },
  memorySwap: { swapBehavior: 22 },
  crashLoopBackOff: { maxContainerRestartPeriod: 32 },
  userNamespaces: { idsPerPod: 33 },
};
const REMOVED: Readonly<Record<string, number>> = { "logging.sanitization": 24 };
/** Known, but without effect in a drop-in, which the profile is from 1.30 on (kubernetes #126630, mended in 1.32 by #127421). */
const IGNORED_BY: Readonly<Record<string, readonly number[]>> = { resolvConf: [30, 31] };

/** Of any release: which one brought a signal is not told apart. */
const SIGNALS =
  "memory.available nodefs.available nodefs.inodesFree imagefs.available imagefs.inodesFree containerfs.available containerfs.inodesFree pid.available allocatableMemory.available".split(
    " ",
  );
const BY_SIGNAL = ["evictionHard", "evictionSoft", "evictionSoftGracePeriod", "evictionMinimumReclaim"];

/** Fields that somebody else sets, and who. */
const OWNED: Readonly<Record<string, string>> = {
  apiVersion: "the kubelet's own; leave it out",
  kind: "the kubelet's own; leave it out",
  serializeImagePulls: "set by parallelImagePulls beside configuration",
  maxParallelImagePulls: "set by maxParallelImagePulls beside configuration",
  containerRuntimeEndpoint: "set by kubeadm from criSocket of the kubeadm section",
  registerWithTaints: "set by kubeadm from taints of the kubeadm section",
  registerNode: "always true for a node that joins",
  staticPodPath: "set by kubeadm",
  staticPodURL: "whoever answers there would run pods that the cluster does not know of",
  staticPodURLHeader: "has no meaning without staticPodURL, which must not be set either",
  rotateCertificates: "set by kubeadm: without it a node falls out of its cluster",
};

export interface KubeletFinding {
  /** Keys from the top of the configuration down. */
  readonly path: readonly string[];
  readonly message: string;
  readonly hint: string;
}

/** Minor releases of Kubernetes 1 that know maxParallelImagePulls. */
export const MAX_PARALLEL_PULLS_SINCE = 27;

/**
 * @param configuration fields of KubeletConfiguration
 * @param minor of the installed kubelet, of Kubernetes 1; undefined: not known, then a field that any release knows may stand
 */
export function checkKubelet(configuration: Readonly<Record<string, unknown>>, minor: number | undefined): readonly KubeletFinding[] {
  return Object.entries(configuration).flatMap(([key, value]): readonly KubeletFinding[] => {
    const owner = Object.hasOwn(OWNED, key) ? OWNED[key] : undefined;
    if (owner !== undefined) return [{ path: [key], message: "must not be set here", hint: owner }];
    if (value === null) return [{ path: [key], message: "has no value", hint: "leave it out" }];
    if (minor !== undefined && Object.hasOwn(IGNORED_BY, key) && IGNORED_BY[key]?.includes(minor) === true) {
      const hint = "remove it, or install another release of the kubelet";
      return [{ path: [key], message: `is ignored by kubelet 1.${minor} in a drop-in`, hint }];
    }
    const finding = checkRelease([key], firstRelease(key), undefined, minor, knownKeys);
    return finding === undefined ? checkInside([key], value, minor) : [finding];
  });
}

const knownKeys: readonly string[] = [...SINCE_1_20, ...Object.keys(ADDED_LATER)];

function firstRelease(key: string): number | undefined {
  return SINCE_1_20.includes(key) ? 0 : Object.hasOwn(ADDED_LATER, key) ? ADDED_LATER[key] : undefined;
}

function checkInside(path: readonly string[], value: unknown, minor: number | undefined): readonly KubeletFinding[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
  const signals = BY_SIGNAL.includes(path.join("."));
  const table: Readonly<Record<string, number>> | undefined = signals
    ? Object.fromEntries(SIGNALS.map((signal) => [signal, 20]))
    : INSIDE[path.join(".")];
  if (table === undefined) return [];
  return Object.entries(value).flatMap(([key, inner]): readonly KubeletFinding[] => {
    const at = [...path, key];
    const since = Object.hasOwn(table, key) ? table[key] : undefined;
    const finding = checkRelease(at, since === 20 ? 0 : since, REMOVED[at.join(".")], minor, Object.keys(table));
    return finding === undefined ? checkInside(at, inner, minor) : [finding];
  });
}

function checkRelease(
  path: readonly string[],
  since: number | undefined,
  until: number | undefined,
  minor: number | undefined,
  known: readonly string[],
): KubeletFinding | undefined {
  const name = path.at(-1) ?? "";
  if (since === undefined) return { path, message: "is no field of KubeletConfiguration", hint: didYouMean(name, known) };
  if (minor === undefined) return undefined;
  if (minor < since) {
    return { path, message: `is not known to kubelet 1.${minor}: known from 1.${since}`, hint: "remove it, or install a newer kubelet" };
  }
  if (until === undefined || minor < until) return undefined;
  return { path, message: `is not known to kubelet 1.${minor}: known before 1.${until}`, hint: "remove it" };
}
