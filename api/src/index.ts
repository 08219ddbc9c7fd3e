/** The one door of api/: the objects, their validation, and what a profile compiles to. Pure. */
export { checkBinaries, KEPT_SUFFIX, malformedBinary, mayRestart } from "./binary-rules.ts";
export { canonicalJson, contentDigest } from "./canonical-json.ts";
export { type Compilation, compile, revisionOf, revisionOfLock } from "./compile.ts";
export { formatDuration, parseDurationMs } from "./duration.ts";
export { FACT_LABEL_PREFIX, factLabels, labelValueOf } from "./fact-labels.ts";
export { impactOf, type StepImpact, stepImpacts, upperBoundImpact } from "./impact.ts";
export { combinedJsonSchema, type JsonSchema, jsonSchemas } from "./json-schema.ts";
export { checkKubernetes } from "./kubernetes-rules.ts";
export {
  kubernetesNodeName,
  type Membership,
  NODE_SET_LABEL,
  nodeLabels,
  nodeTaints,
} from "./kubernetes-steps.ts";
export { kindOf } from "./kind-of.ts";
export { checkKubelet, type KubeletFinding, MAX_PARALLEL_PULLS_SINCE } from "./kubelet-rules.ts";
export { locate, type Manifest, type ManifestParsing, parseManifests } from "./manifest.ts";
export { resolveMaxUnavailable } from "./max-unavailable.ts";
export { canonicalModuleName, isModuleName } from "./module-rules.ts";
export { didYouMean, nearest } from "./nearest.ts";
export {
  API_VERSION,
  type Cluster,
  type Condition,
  DEFAULT_CONFIRM_DEADLINE,
  defaultDrain,
  defaultGates,
  type DroverObject,
  type ImageLock,
  type JoinToken,
  type Kind,
  kinds,
  type LockedImageEntry,
  type Node,
  type NodeProfile,
  type NodeSet,
  type ImpactName,
  type MaintenanceWindow,
  type Repair,
  type Rollout,
  type RolloutStrategy,
  type Rung,
  type Selector,
  type TaintEntry,
} from "./objects.ts";
export { type Finding, formatPath, formatProblem, parsePath, type Path, type Problem } from "./problems.ts";
export { formatBytes, parseBytes } from "./quantity.ts";
export { formatSelector, type Labels, matchesSelector, parseSelector, type SelectorParsing } from "./selector.ts";
export { shapeFindings } from "./shape.ts";
export { stepIdOf } from "./step-id.ts";
export {
  canonicalSysctlValue,
  checkSysctl,
  checkSysctls,
  describeSysctl,
  NODE_PORTS,
  type SysctlFinding,
  sysctlPath,
} from "./sysctl-rules.ts";
export { validateObject, type Validation } from "./validate.ts";
export { type Position, readYaml, type SourceDocument, type SourceReading } from "./yaml-source.ts";
