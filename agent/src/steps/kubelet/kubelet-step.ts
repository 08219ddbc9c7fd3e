/**
 * The kubelet's configuration: only the keys of the plan. From 1.30 by a drop-in; before, by a patch that kubeadm applies at the join (from
 * 1.25) or that is merged after it, and in the config.yaml of a node that has joined already.
 */
import { checkKubelet } from "@drover/api";
import { type Change, Impact, KubeletSpec } from "@drover/proto";
import type { Refusal, Step, StepCondition } from "../step.ts";
import { StepError } from "../step.ts";
import { formatVersion } from "../kubeadm/versions.ts";
import { changeOver, settle, swap } from "./change-over.ts";
import { type FileSwap, rememberedOf } from "./memory.ts";
import { CONFIG_PATH, ORIGINALS_PATH, PATCH_PATH } from "./merge-patch.ts";
import { type KubeletObserved, observeKubelet } from "./observed.ts";
import { configurationOf, DROP_INS_SINCE } from "./wanted.ts";

export const kubeletStep: Step<"kubelet", KubeletObserved> = {
  kind: "kubelet",
  emptySpec: KubeletSpec.create(),
  observe: observeKubelet,
  refuse: refuseKubelet,

  diff(_spec, observed) {
    if (observed.memory.attempt !== undefined) {
      const note = "a change was under way when the agent stopped: it is finished, or taken back when the kubelet does not stay up";
      return [{ path: "kubelet", from: observed.memory.attempt.phase, to: "settled", impact: Impact.IMPACT_RESTART, note }];
    }
    return changesOf(observed);
  },

  conditions(_spec, observed): readonly StepCondition[] {
    const { version, isActive } = observed;
    if (version === undefined) return [];
    const message = `kubelet ${formatVersion(version)}`;
    return [{ type: "Kubelet", status: isActive ? "True" : "False", reason: isActive ? "Active" : "NotActive", message }];
  },

  async apply(spec, _changes, context) {
    let observed = await observeKubelet(spec, context);
    if (observed.memory.attempt !== undefined) {
      await settle(observed.memory.attempt, observed.memory.files, context);
      observed = await observeKubelet(spec, context);
    }
    const refusal = refuseKubelet(spec, observed);
    if (refusal !== undefined) throw new StepError(refusal.reason, refusal.message, false);
    const { swaps, memory, isActive, isConfigured } = observed;
    const before = memory.files;
    const gone = new Set(swaps.flatMap(({ path, after }) => (after === null ? [path] : [])));
    const added = swaps.flatMap(({ path, after }) => (after === null || path === CONFIG_PATH || path === ORIGINALS_PATH ? [] : [path]));
    const after = [...new Set([...before, ...added])].filter((path) => !gone.has(path));
    if (isConfigured && swaps.some(isFelt)) return changeOver(swaps, { before, after, isIdle: !isActive }, context);
    await context.memory.set(rememberedOf({ files: [...new Set([...before, ...added])] }));
    await swap(swaps, context);
    await context.memory.set(rememberedOf({ files: after }));
  },
};

function refuseKubelet(spec: KubeletSpec, observed: KubeletObserved): Refusal | undefined {
  if (!observed.isLive) return { reason: "NotLive", message: "the kubelet's configuration depends on its version, and an image runs none" };
  if (spec.configuration === "" && !spec.parallelImagePulls) return undefined;
  if (!observed.isInstalled) {
    return {
      reason: "KubeletNotInstalled",
      message: "there is no kubelet in /usr/local/bin or /usr/bin: install it, or name it in binaries",
    };
  }
  const { version } = observed;
  if (version === undefined) return { reason: "KubeletVersionUnknown", message: "the installed kubelet does not tell its version" };
  const configuration = configurationOf(spec);
  if (configuration === undefined) return { reason: "InvalidConfiguration", message: "the configuration is no JSON object" };
  const findings = checkKubelet(configuration, version.minor);
  if (findings.length > 0) {
    const message = findings.map(({ path, message: what }) => `key ${path.join(".")} ${what}`).join("; ");
    return { reason: "UnknownKubeletKey", message };
  }
  if (version.minor >= DROP_INS_SINCE && observed.configArgs === undefined) {
    const message = "the kubelet's unit does not hand it KUBELET_CONFIG_ARGS, as kubeadm's 10-kubeadm.conf does: install kubeadm's drop-in";
    return { reason: "KubeletUnitUnknown", message };
  }
  return undefined;
}

/** A node's kubelet that happens to be down is started again at any moment: its impact does not go by the moment. */
function changesOf({ swaps, leaves, isConfigured }: KubeletObserved): readonly Change[] {
  const impactOf = (isEffective: boolean): Impact => (isEffective && isConfigured ? Impact.IMPACT_RESTART : Impact.IMPACT_LIVE);
  const files = swaps
    .filter(({ path }) => path !== CONFIG_PATH && path !== ORIGINALS_PATH)
    .map((file) => ({ path: file.path, from: summary(file.before), to: summary(file.after), impact: impactOf(isFelt(file)), note: "" }));
  const keys = leaves.map(({ path, from, to }) => ({
    path: `${CONFIG_PATH} ${path.join(".")}`,
    from,
    to,
    impact: impactOf(true),
    note: "",
  }));
  return [...files, ...keys];
}

/** The patch is kubeadm's to read, at the next join. */
function isFelt({ path }: FileSwap): boolean {
  return path !== PATCH_PATH && path !== ORIGINALS_PATH;
}

function summary(text: string | null): string {
  return text === null ? "" : `${text.split("\n").length - 1} lines`;
}
