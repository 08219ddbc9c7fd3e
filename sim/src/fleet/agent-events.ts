/** What simulated agents report, as real ones would. Pure. */
import {
  type Change,
  type ConditionReport,
  ConditionStatus,
  Event,
  type Facts,
  Impact,
  PlanOutcome,
  type Plan,
  ReportBatch,
  type Step,
  StepOutcome,
} from "@drover/proto";
import { addressOf, nodeNameOf } from "./agent-identity.ts";

export type EventBody = NonNullable<Event["body"]>;

export interface Pair {
  readonly planEpoch: number;
  readonly generation: number;
}

export const AGENT_VERSION = "0.1.0";
const NO_PAIR: Pair = { planEpoch: 0, generation: 0 };

export function eventOf(atMs: number, pair: Pair | undefined, body: EventBody): Event {
  const { planEpoch, generation } = pair ?? NO_PAIR;
  return { atMs: Math.floor(atMs), generation, planEpoch, body };
}

export function batchOf(nodeId: string, outboxEpoch: Buffer, seq: number, events: Event[]): Uint8Array {
  return ReportBatch.encode({ nodeId, outboxEpoch, seq, events }).finish();
}

export function started(index: number, startCount: number): EventBody {
  return { $case: "agentStarted", value: { agentVersion: AGENT_VERSION, bootId: `boot-${index}`, startCount } };
}

export function factsOf(index: number): EventBody {
  const value: Facts = {
    hostname: nodeNameOf(index),
    bootId: `boot-${index}`,
    machineId: index.toString(16).padStart(32, "0"),
    architecture: "x64",
    kernel: "6.1.0-28-amd64",
    os: "Debian GNU/Linux",
    osVersion: "12",
    cpus: 8,
    cpuModel: "Simulated CPU @ 2.40GHz",
    memoryBytes: 16 * 2 ** 30,
    disks: [{ name: "vda", sizeBytes: 100 * 2 ** 30, kind: "virtual" }],
    nics: [{ name: "eth0", mac: "52:54:00:00:00:00", addresses: [addressOf(index)], speedMbits: 10_000 }],
    versions: { containerd: "1.7.24", runc: "1.1.15", systemd: "252" },
    agentVersion: AGENT_VERSION,
    machineKind: "vm",
    vendor: "Drover",
    product: "Simulated machine",
  };
  return { $case: "facts", value };
}

/** An inventory of images of which most are on every node. */
export function imagesOf(index: number, count: number): EventBody {
  const images = Array.from({ length: count }, (_, at) => {
    const name = at % 4 === 3 ? `registry.example/team-${index % 20}/app-${at}:1.${index % 7}` : `registry.example/base/image-${at}:2.1`;
    return { name, digest: `sha256:${String(at).padStart(64, "0")}`, sizeBytes: 40_000_000 + at * 1_000_003, pinned: at % 4 === 0 };
  });
  return { $case: "images", value: { images } };
}

export function condition(type: string, isTrue: boolean, reason: string, atMs: number, message = ""): EventBody {
  const status = isTrue ? ConditionStatus.CONDITION_STATUS_TRUE : ConditionStatus.CONDITION_STATUS_FALSE;
  const value: ConditionReport = { type, status, reason, message, lastTransitionMs: Math.floor(atMs) };
  return { $case: "condition", value };
}

export function stepStarted(step: Step): EventBody {
  return { $case: "stepStarted", value: { step: step.id, changes: [changeOf(step)] } };
}

export function stepEnded(
  step: Step,
  ending: { readonly outcome: "unchanged" | "changed" } | { readonly outcome: "failed"; readonly reason: string; readonly message: string },
  durationMs: number,
): EventBody {
  const outcomes = {
    unchanged: StepOutcome.STEP_OUTCOME_UNCHANGED,
    changed: StepOutcome.STEP_OUTCOME_CHANGED,
    failed: StepOutcome.STEP_OUTCOME_FAILED,
  };
  const { reason, message } = ending.outcome === "failed" ? ending : { reason: "", message: "" };
  return {
    $case: "stepResult",
    value: {
      step: step.id,
      outcome: outcomes[ending.outcome],
      reason,
      message,
      retryable: ending.outcome === "failed",
      durationMs: Math.round(durationMs),
      outputTail: ending.outcome === "unchanged" ? "" : `${step.id}: simulated`,
      outputDigest: Buffer.alloc(0),
      outputBytes: 0,
      changes: ending.outcome === "unchanged" ? [] : [changeOf(step)],
    },
  };
}

export type Ending =
  | { readonly outcome: "enforced" }
  | { readonly outcome: "failed" | "rejected"; readonly reason: string; readonly message: string; readonly step: string };

export function planFinished({ revision }: Pick<Plan, "revision">, ending: Ending): EventBody {
  const outcomes = {
    enforced: PlanOutcome.PLAN_OUTCOME_ENFORCED,
    failed: PlanOutcome.PLAN_OUTCOME_FAILED,
    rejected: PlanOutcome.PLAN_OUTCOME_REJECTED,
  };
  const { reason, message, step } = ending.outcome === "enforced" ? { reason: "", message: "", step: "" } : ending;
  return { $case: "planFinished", value: { revision, outcome: outcomes[ending.outcome], reason, message, failedStep: step } };
}

/** What each kind of step tells when it has been read back; told after the plan's end, too, where a rollout looks for it. */
export function stepCondition(kind: string, atMs: number): EventBody | undefined {
  const told = TOLD_BY[kind];
  return told && condition(told[0], told[1], told[2], atMs);
}

const TOLD_BY: Readonly<Record<string, readonly [type: string, isTrue: boolean, reason: string]>> = {
  sysctl: ["SysctlShadowed", false, "NotShadowed"],
  containerd: ["Containerd", true, "Active"],
  images: ["ImagesPresent", true, "AllPresent"],
  kubelet: ["Kubelet", true, "Active"],
  kubeadm: ["Joined", true, "Joined"],
};

function changeOf({ id, spec }: Step): Change {
  const isRestart = spec?.$case === "containerd" || spec?.$case === "kubelet";
  const impact = isRestart ? Impact.IMPACT_RESTART : Impact.IMPACT_LIVE;
  return { path: `${id}.value`, from: "before", to: "after", impact, note: "" };
}
